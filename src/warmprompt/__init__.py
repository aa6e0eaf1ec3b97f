"""A frozen language model that personalises for people it has hardly seen."""
