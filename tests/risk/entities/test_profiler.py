"""A profiler on banks whose ratings follow capital, impaired loans and a strength that only ratings show."""

import dataclasses

import numpy as np
import pytest

from warmprompt.errors import BadInputError, IntegrityError, UserError
from warmprompt.risk.entities import (
    UNLABELLED,
    fit_entities,
    learn_schema,
    load_entities,
    make_table,
    save_entities,
)
from warmprompt.risk.entities.made_up import RATINGS, make_banks
from warmprompt.risk.profile import load_profiler


@pytest.fixture(scope="module")
def others(schema):
    """Banks that the profiler has not seen, with every rating that was hidden put back."""
    table = make_table(make_banks(400, 10, seed=1), schema)
    return table, table.period_N == 8


@pytest.fixture(scope="module")
def judged(trained, others):
    """Scores of the last quarter but one: without own labels, with them."""
    table, at = others
    rows = np.flatnonzero(at)
    few = dataclasses.replace(table, label_N=np.where(at, UNLABELLED, table.label_N))
    return {most: trained[0].score(few, rows, most_known=most) for most in (0, 20)}


def test_the_backtest_holds_on_banks_never_seen(trained, others, judged):
    _, report = trained
    table, at = others
    label = table.label_N[at]
    for name, most in (("new", 0), ("known", 20)):
        log_p = judged[most].log_p_RC
        accuracy, loss = (log_p.argmax(axis=1) == label).mean(), -log_p[np.arange(400), label].mean()
        # 400 rows here and some 50 there: two standard errors of both are .15.
        assert accuracy == pytest.approx(report.accuracy[name], abs=0.15)
        assert loss < 0.8 * report.shares_log_loss[name]
    # Strength is in no feature, so labels of its own tell more.
    assert report.log_loss["known"] < report.log_loss["new"] - 0.1
    assert (judged[20].num_known_R == 8).all()
    assert not judged[0].num_known_R.any()


def test_sets_and_probabilities_hold_on_banks_never_seen(others, judged):
    table, at = others
    bad = table.label_N[at] == RATINGS.index("D")
    for scores in judged.values():
        # Calibrated on few rows for 90 %.
        assert scores.says_trouble_R[bad].mean() > 0.75
        assert scores.says_sound_R[~bad].mean() > 0.75
        assert scores.p_R.mean() == pytest.approx(bad.mean(), abs=0.08)
        assert ((scores.low_R <= scores.p_R) & (scores.p_R <= scores.high_R)).all()
        assert scores.p_R[bad].mean() > 3 * scores.p_R[~bad].mean()


def test_neither_the_own_label_nor_later_rows_are_read(trained, others):
    profiler, (table, at) = trained[0], others
    rows = np.flatnonzero(at)[:50]
    before = profiler.score(table, rows)
    rng = np.random.default_rng(0)
    label, numbers = table.label_N.copy(), table.numbers_NJ.copy()
    label[rows] = (label[rows] + 1) % 4
    later = table.period_N > 8
    label[later] = rng.integers(0, 4, later.sum())
    numbers[later] = rng.random((later.sum(), numbers.shape[1]))
    after = profiler.score(dataclasses.replace(table, label_N=label, numbers_NJ=numbers), rows)
    np.testing.assert_array_equal(after.log_p_RC, before.log_p_RC)
    np.testing.assert_array_equal(after.p_R, before.p_R)
    assert before.num_peers_R.tolist() == [350] * 50


def test_peers_tell_what_has_changed(trained, others):
    profiler, (table, at) = trained[0], others
    # From this quarter on, the best rating goes to the weakest.
    turned = dataclasses.replace(table, label_N=np.where(at, 3 - table.label_N, table.label_N))
    rows = np.flatnonzero(at)[:200]
    label = turned.label_N[rows]
    alone = profiler.score(turned, rows, uses_peers=False).log_p_RC[np.arange(200), label].mean()
    helped = profiler.score(turned, rows).log_p_RC[np.arange(200), label].mean()
    assert helped > alone + 0.5
    assert 50 in trained[1].peer_weights


def test_a_profiler_is_saved_whole(trained, others, tmp_path):
    profiler, (table, at) = trained[0], others
    save_entities(profiler, tmp_path / "p")
    again = load_entities(tmp_path / "p")
    assert again.schema == profiler.schema
    rows = np.flatnonzero(at)
    ours, theirs = profiler.score(table, rows[:99]), again.score(table, rows[:99])
    for name, value in vars(ours).items():
        np.testing.assert_array_equal(vars(theirs)[name], value)
    with pytest.raises(UserError, match=r"It was trained on a table: use `risk score`\."):
        load_profiler(tmp_path / "p")
    numbers = tmp_path / "p" / "profiler.safetensors"
    numbers.write_bytes(numbers.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="It was changed; train again"):
        load_entities(tmp_path / "p")


@pytest.mark.parametrize(
    ("banks", "quarters", "changes", "line"),
    [
        (40, 1, {}, "column rating: 'labels in 1 periods'. Give labels of at least two periods"),
        (
            40,
            3,
            {"delay": 3},
            "column rating: 'labels in 3 periods'. Give labels of at least two periods that",
        ),
        (60, 3, {}, "rows to calibrate on, column rating: "),
    ],
)
def test_too_little_data_is_refused(banks, quarters, changes, line):
    frame = make_banks(banks, quarters, seed=0)
    schema = learn_schema(frame, entity="bank", time="quarter", label="rating", classes=RATINGS, **changes)
    with pytest.raises(BadInputError) as refusal:
        fit_entities(make_table(frame, schema), schema, None, seed=0)
    assert refusal.value.line().startswith(line)
