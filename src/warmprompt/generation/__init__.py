"""Explanations and generated recommendations, grounded in the catalogue."""
