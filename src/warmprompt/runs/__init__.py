"""The folder of a trained run: its files, their format, and the model in them."""
