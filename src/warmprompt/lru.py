"""A cache of limited size: the value not used for longest leaves first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """The most recently used values; not safe between threads.

    Args:
        size: Values kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        """Values kept."""
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """Return a value, now the most recently used; None where there is none."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def peek(self, key: Key) -> Value | None:
        """Return a value, or None; its age stays."""
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> list[Value]:
        """Keep a value as the most recently used; returns those that left for it."""
        self._values[key] = value
        self._values.move_to_end(key)
        return [self._values.popitem(last=False)[1] for _ in range(len(self._values) - self._size)]

    def pop(self, key: Key) -> Value | None:
        """Remove and return a value, or None."""
        return self._values.pop(key, None)

    def items(self) -> list[tuple[Key, Value]]:
        """Return all keys and values, the least recently used first."""
        return list(self._values.items())
