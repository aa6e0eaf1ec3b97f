"""SASRec's network, loss and windows against direct computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from warmprompt.baselines import baseline
from warmprompt.baselines.sasrec import SASRec, _left_padded, _loss, _Net, _window
from warmprompt.errors import BadInputError
from warmprompt.rng import derive

TINY = SASRec(width=8, num_blocks=2, num_heads=2, dropout=0.0)


@pytest.fixture
def net():
    torch.manual_seed(3)
    return _Net(20, TINY).eval()


def _items(*items):
    return np.array(items, dtype=np.int32)


@torch.no_grad()
def test_later_items_never_change_earlier_states(net):
    rows, indices = _left_padded([(_items(3, 7, 1, 12, 5), 0)] * 2, None)
    rows[1, 3:] = torch.tensor([9, 15])
    states = net(rows, indices)
    torch.testing.assert_close(states[0, :3], states[1, :3], rtol=0, atol=0)
    assert not torch.allclose(states[0, 3], states[1, 3], atol=1e-3)


@torch.no_grad()
def test_padding_changes_no_state(net):
    window = (_items(3, 7, 1), 4)
    alone = net(*_left_padded([window], None))
    among = net(*_left_padded([window, (_items(*range(11)), 0)], 20))
    # Float32; the sums run over more zeros.
    torch.testing.assert_close(among[0, -3:], alone[0], rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_index_in_the_history_is_read_up_to_the_last_embedding(net):
    last = [net(*_left_padded([(_items(3, 7), start)], None))[0, -1] for start in (0, 5, 60, 300)]
    assert not torch.allclose(last[0], last[1], atol=1e-3)
    torch.testing.assert_close(last[2], last[3], rtol=0, atol=0)


@torch.no_grad()
def test_loss_is_the_mean_softmax_over_drawn_items(net):
    windows = [(_items(3, 7, 1, 12), 0), (_items(4, 7), 2)]
    negatives = [7, 2, 2, 18, 9]
    rows, indices = _left_padded(windows, 6)
    found = float(_loss(net, rows, indices, torch.tensor(negatives)))
    vectors = net.items.weight.double().numpy()[1:]
    losses = []
    for items, start in windows:
        # Positions count from the end of a batch's rows, where the last item is a target alone.
        states = net(*_left_padded([(items[:-1], start)], 5)).double().numpy()[0]
        for step, target in enumerate(items[1:]):
            state = states[5 - len(items) + 1 + step]
            others = [one for one in negatives if one != target]
            right = np.exp(vectors[target] @ state)
            losses.append(-np.log(right / (right + np.exp(vectors[others] @ state).sum())))
    assert len(losses) == 4
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_windows_begin_at_the_first_event_or_end_at_random():
    history = np.arange(200, dtype=np.int32)
    rng = derive(0, "windows")
    first = [_window(history, rng, 1.0) for _ in range(20)]
    assert all(start == 0 and items.tolist() == list(range(51)) for items, start in first)
    anywhere = [_window(history, rng, 0.0) for _ in range(4000)]
    assert all(items[0] == start and len(items) <= 51 for items, start in anywhere)
    ends = np.array([items[-1] for items, _ in anywhere])
    # Uniform over 1 to 199: a mean of 100 with a standard error of 0.9.
    assert ends.mean() == pytest.approx(100, abs=3.6)
    assert (ends.min(), ends.max()) == (1, 199)
    both = [_window(history, rng, 0.25)[0].tolist() == list(range(51)) for _ in range(4000)]
    # Another half percent of random ends falls on the same window.
    assert np.mean(both) == pytest.approx(0.25 + 0.75 / 199, abs=0.028)
    assert _window(history[:3], rng, 1.0)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_shares_of_windows_are_checked(share, worlds):
    data = worlds.make_dataset([[0, 1, 2], [1, 2, 0]])
    with pytest.raises(BadInputError, match="from_start"):
        baseline("sasrec", from_start=share)().fit(data, data, seed=0)
