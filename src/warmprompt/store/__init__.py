"""User state and event log: SQLite by default, PostgreSQL when shared. Knows bytes and versions, and no model."""
