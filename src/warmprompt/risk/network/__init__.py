"""Payment networks: an immutable graph, its readers, its figures, and a synthetic network like Fedwire."""
