"""Scores and rankings of the catalogue."""
