"""The service's log: times, routes, statuses and error classes, and no data of users.

Paths contain user ids, queries contain search words, and exception messages contain values, so none of them
is written. A route is logged as its pattern, an error as its class and the code locations in its traceback.
"""

from __future__ import annotations

import logging
import traceback

_LOG = logging.getLogger("warmprompt.service")


def log_line(message: str, **values: object) -> None:
    """Log a line; values must not come from a user."""
    _LOG.info("%s%s", message, "".join(f" {name}={value}" for name, value in values.items()))


def note_error(message: str, error: BaseException) -> None:
    """Log an error by its class and the code locations in its traceback, without its message."""
    locations = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    _LOG.error("%s error=%s at=%s", message, type(error).__name__, ",".join(locations[-6:]) or "-")


def set_up_logging(*, level: str = "INFO") -> None:
    """Write the service's log to stderr, one line per entry."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _LOG.handlers[:] = [handler]
    _LOG.setLevel(level)
