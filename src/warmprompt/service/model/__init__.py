"""The model in service: a catalogue with spare capacity, and reproducible adaptation in batches."""
