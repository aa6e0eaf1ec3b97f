"""The budget: how often each probed operation is counted, and that a run keeps what was announced."""

from types import SimpleNamespace

import pytest
from tests.assembly.small import small_settings

from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_users
from warmprompt.data.synthetic import planted_world
from warmprompt.meta.learners import learner_of
from warmprompt.runs.format import load_trained
from warmprompt.training import budget
from warmprompt.training.budget import Budget, Spent, budget_of
from warmprompt.training.run import train_run


@pytest.fixture(scope="module")
def world():
    return planted_world(num_users=120, num_items=40, num_tastes=3, seed=0).dataset


def test_each_operation_is_counted_as_often_as_training_does_it(world, monkeypatch):
    """Every probe takes one second by the clock and two of the processor; the factors' fit takes none."""
    monkeypatch.setattr(budget, "_timed", lambda work: Spent(wall_s=1.0, cpu_s=2.0))
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: 0.0, process_time=lambda: 0.0))
    more = ("train.tangent_epochs=8", "train.batch_size=21", "backbone.item_text=tiny-encoder")
    settings = small_settings(*more)
    split = split_users(120, seed=0)
    training, validation = take_users(world, split.train), take_users(world, split.validation)
    found = budget_of(settings, training, validation, learner=learner_of("learned-target"))
    # 64 users tell how many texts a user has; a second a sample of 16 item texts and of user texts.
    assert found.reading.wall_s >= 40 / 16 + 96 / 16
    # The tiny model is 64 wide or less: one chunk of rows, behind no text and seven texts.
    assert found.measuring.wall_s == 1 + 7
    # 84 training users make 4 steps an epoch; 12 validation users at 6 sizes, before, after 4 and after 8.
    assert found.fitting.wall_s == pytest.approx(8 * 4 + 3 * 12 * 6 / 21)
    # Kept once; 8 kinds, 2 rounds, 15 looks each at 12 users at K = 1, 3, 5, 10 and some at 20; 6 passes for
    # new items.
    long = sum(
        len(world.interactions.items[world.interactions.events_of(int(u))]) > 20 for u in split.validation
    )
    assert found.weighing.wall_s == pytest.approx((1 + 2 * 8 * 15) * (4 * 12 + long) / 64 + 6 * 4)
    # But for the ten seconds that every training takes.
    assert found.total.cpu_s - 10 == pytest.approx(2 * (found.total.wall_s - 10))


def test_the_announced_bound_is_the_sum_with_its_margin():
    part = Spent(wall_s=40.0, cpu_s=10.0)
    whole = Budget(reading=part, measuring=part, fitting=part, weighing=part)
    assert whole.total == Spent(wall_s=250.0, cpu_s=70.0)
    assert whole.line().startswith(
        "budget: at most 4.2 min on this machine, 70 s of processor time (reading "
    )


def test_a_run_keeps_what_was_announced_beside_what_it_took(world, tmp_path):
    said = []
    train_run(small_settings(), tmp_path / "run", dataset=world, progress=said.append)
    manifest = load_trained(tmp_path / "run").manifest
    (line,) = [one for one in said if isinstance(one, str) and one.startswith("budget:")]
    assert f"{budget.minutes(manifest['budget']['total']['wall_s'])} on this machine" in line
    # Processor time does not depend on who else is busy.
    assert 0 < manifest["train_cpu_s"] <= manifest["budget"]["total"]["cpu_s"]
