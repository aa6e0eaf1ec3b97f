"""Compressed rows and the largest values, against lists and sorting in plain Python."""

import numpy as np
import pytest
from tests.experts.worlds import batch_of, context_of, small_world, support_of

from warmprompt.experts import user_neighbours
from warmprompt.experts.histories import largest, picked
from warmprompt.experts.user_neighbours import UserNeighbours

OFFSETS = np.array([0, 2, 2, 5])
ENTRIES = np.array([7, 8, 1, 2, 3], dtype=np.int32)


@pytest.mark.parametrize("rows", [[], [1], [2, 0], [0, 1, 2, 2]])
def test_picked_rows_come_one_after_another(rows):
    entries, lengths = picked(ENTRIES, OFFSETS, np.array(rows, dtype=np.int64))
    parts = [ENTRIES[OFFSETS[row] : OFFSETS[row + 1]].tolist() for row in rows]
    assert entries.tolist() == [entry for part in parts for entry in part]
    assert lengths.tolist() == [len(part) for part in parts]


@pytest.mark.parametrize("num_kept", [1, 2, 3, 4, 6, 9])
@pytest.mark.parametrize("values", [[0, 3, 1, 3, 2, 3], [0, 0, 0, 0, 0, 1], [0, 0, 0], [2, 2, 2, 2, 2, 2]])
def test_largest_are_the_first_when_sorted_by_value_then_position(values, num_kept):
    positive = [position for position, value in enumerate(values) if value > 0]
    expected = sorted(positive, key=lambda position: (-values[position], position))[:num_kept]
    assert largest(np.array(values, dtype=np.float64), num_kept).tolist() == expected


def test_users_looked_at_together_change_no_bit(monkeypatch):
    world = small_world()
    expert = UserNeighbours.fit(world, context_of(world))
    users = batch_of(support_of(1, 4), support_of(), support_of(3, 1, 4, 12, 20, 25))
    together = expert.score(users)
    monkeypatch.setattr(user_neighbours, "_MAX_CELLS", 1)
    assert expert.score(users).tobytes() == together.tobytes()
