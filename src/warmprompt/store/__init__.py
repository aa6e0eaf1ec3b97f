"""User state and event log, SQLite or PostgreSQL; knows bytes and versions, and no model.

with open_store("sqlite:///users.db") as store:          # warmprompt.store.opening
    store.append("ada", [Entry(kind="event", body='{"item": 50}')], idempotency_key="7f3a")
"""
