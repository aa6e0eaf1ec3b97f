"""Data: tables and their readers, fetching, splits, episodes, verbalisation, synthetic worlds."""
