"""The service's log: times, routes, statuses and error classes, and no data of users.

Paths contain user ids, queries contain search words, and exception messages contain values, so none of them
is written. A route is logged as its pattern, an error as its class and the code locations in its traceback,
and one of this package's own with its remedy, which names files but no values.
"""

from __future__ import annotations

import logging
import traceback

from warmprompt.errors import WarmpromptError

_LOG = logging.getLogger("warmprompt.service")


def log_line(message: str, **values: object) -> None:
    """Log a line; values must not come from a user."""
    _LOG.info("%s%s", message, "".join(f" {name}={value}" for name, value in values.items()))


def note_error(message: str, error: BaseException) -> None:
    """Log an error by its class, its remedy and the code locations in its traceback, without the value."""
    locations = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    reason = f" reason={error.remedy!r}" if isinstance(error, WarmpromptError) else ""
    where = ",".join(locations[-6:]) or "-"
    _LOG.error("%s error=%s%s at=%s", message, type(error).__name__, reason, where)


def set_up_logging(*, level: str = "INFO") -> None:
    """Write the service's log to stderr, one line per entry."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _LOG.handlers[:] = [handler]
    _LOG.setLevel(level)
