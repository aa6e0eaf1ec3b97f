"""Every exception the package raises on purpose, drawn as a tree.

    WarmpromptError
    |-- UserError                  the caller can mend it; commands exit with 2
    |   |-- UnknownNameError       a data set, backbone, learner, title, user ... that is not known
    |   |-- BadInputError          a value or file with the wrong type, range or form
    |   |   `-- RejectsError       more malformed rows than the stated share
    |   `-- MismatchError          two things that do not belong together (run and data, run and backbone)
    `-- FaultError                 not the caller's doing; commands exit with 1
        |-- NotFiniteError         a loss, score or weight became NaN or infinite
        |-- IntegrityError         a hash or manifest does not match what lies on disk
        |-- FetchError             a download failed
        |-- StorageError           a file could not be written (disk full, no permission)
        |-- DatabaseAwayError      the database cannot be reached now; trying again later may help
        `-- WorkerLostError        another process of the same training has ended or does not answer

Each carries a field, the offending value and a remedy, and prints as one line.
"""

from __future__ import annotations

from typing import Any


class WarmpromptError(Exception):
    """Root of the tree: a field, the value it had, and what to do about it.

    Args:
        field: What was wrong, in the caller's words ("--k", "column 'rating', line 7").
        value: The offending value; shown shortened to 120 characters.
        remedy: One imperative sentence.
    """

    def __init__(self, *, field: str, value: object, remedy: str) -> None:
        self.field = field
        self.value = value
        self.remedy = remedy
        super().__init__(self.line())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the three parts, so that an error crosses from a worker process; values become plain."""
        plain = self.value if isinstance(self.value, str | int | float | None) else str(self.value)
        return _with_parts, (type(self), self.field, plain, self.remedy)

    def line(self) -> str:
        """Return the one line that a person reads."""
        shown = " ".join(str(self.value).split())
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        return f"{self.field}: {shown!r}. {self.remedy}"


class UserError(WarmpromptError):
    """The caller can mend it; commands exit with code 2."""


class UnknownNameError(UserError):
    """A name that is not known; the remedy lists the nearest known ones."""


class BadInputError(UserError):
    """A value or a file with the wrong type, range or form."""


class RejectsError(BadInputError):
    """More malformed rows than the stated share."""


class MismatchError(UserError):
    """Two things that do not belong together, such as a run and another backbone."""


class FaultError(WarmpromptError):
    """Not the caller's doing; commands exit with code 1."""


class NotFiniteError(FaultError):
    """A loss, a score or a weight became NaN or infinite; the field names the episode."""


class IntegrityError(FaultError):
    """A hash or a manifest does not match what lies on disk."""


class FetchError(FaultError):
    """A download failed."""


class StorageError(FaultError):
    """A file could not be written: disk full, no permission."""


class DatabaseAwayError(FaultError):
    """The database cannot be reached now, or is locked for too long; trying again later may help."""


class WorkerLostError(FaultError):
    """Another process of the same training has ended, or does not answer within the time-out."""


def _with_parts(kind: type[WarmpromptError], field: str, value: object, remedy: str) -> WarmpromptError:
    return kind(field=field, value=value, remedy=remedy)
