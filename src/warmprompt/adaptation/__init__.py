"""One user's state and how it moves: adapt to what is told, take in one event more, rank the catalogue."""
