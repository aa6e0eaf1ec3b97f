"""Training a run: a list of named stages, each kept on disk when it is done."""
