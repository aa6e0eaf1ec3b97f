"""One user's state and how it moves: adapt to inputs, add an event, rank the catalogue."""
