"""The language model's own voice: titles that exist and sentences that are true, by constrained decoding."""
