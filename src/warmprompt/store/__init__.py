"""Event log and user states in SQLite or PostgreSQL; handles bytes and versions, never a model.

with open_store("sqlite:///users.db") as store:          # warmprompt.store.opening
    store.append("ada", [Entry(kind="event", body='{"item": 50}')], idempotency_key="7f3a")
"""
