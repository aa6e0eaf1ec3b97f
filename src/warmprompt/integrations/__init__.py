"""Adapters to other libraries' contracts; each module needs its library, and nothing else imports it."""
