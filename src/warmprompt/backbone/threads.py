"""How many processor threads the models may use."""

from __future__ import annotations

import torch


def use_threads(number: int | None) -> int:
    """Give torch this many threads (None leaves its choice) and return how many it has.

    Sums are split differently over another number of threads, so bits of results depend on it.
    """
    if number is not None and number != torch.get_num_threads():
        torch.set_num_threads(number)
    return torch.get_num_threads()
