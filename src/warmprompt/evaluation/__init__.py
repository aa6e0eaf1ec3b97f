"""Protocols, metrics, paired tests and reports for cold users; knows no model."""
