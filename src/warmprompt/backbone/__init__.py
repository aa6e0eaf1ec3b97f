"""Frozen language models: where they come from, how they are loaded, what they say of a text.

Nothing is imported here: `catalogue` and `fetch` stay light, everything else needs torch.
"""
