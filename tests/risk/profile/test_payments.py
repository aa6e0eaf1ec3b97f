"""Payments, their context, and what may not be visible."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.profile import (
    build_episodes,
    counterparty_context,
    make_payments,
    read_payment_table,
    write_payments,
)
from warmprompt.risk.profile.episodes import Cuts

DAY = 86_400


def columns(**changed):
    base = {
        "time_N": np.array([10, 20, 30]),
        "customer_N": np.array([1, 2, 1]),
        "terminal_N": np.array([5, 5, 6]),
        "amount_N": np.array([1.0, 2.0, 3.0]),
        "fraud_N": np.array([False, True, False]),
    }
    return base | changed


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount_N": np.array([1.0, np.nan, 3.0])}, "amount, row 1"),
        ({"amount_N": np.array([1.0, 2.0, -3.0])}, "amount, row 2"),
        ({"amount_N": np.array([np.inf, 2.0, 3.0])}, "amount, row 0"),
        ({"amount_N": np.array([1.0, 2.0, 1e300])}, "amount, row 2"),
        ({"time_N": np.array([10, -20, 30])}, "time, row 1"),
        ({"fraud_N": np.array([True])}, "column fraud"),
        ({"label_delay_s": -1}, "label_delay_s"),
    ],
)
def test_bad_columns_are_refused_with_their_row(changed, field):
    with pytest.raises(BadInputError) as caught:
        make_payments(**columns(**changed))
    assert caught.value.field == field


def test_no_rows_are_refused():
    with pytest.raises(BadInputError, match="at least one payment"):
        make_payments(**{name: value[:0] for name, value in columns().items()})


def test_out_of_order_rows_are_sorted():
    payments = make_payments(**columns(time_N=np.array([30, 10, 20])))
    assert payments.time_N.tolist() == [10, 20, 30]
    assert payments.entity_N.tolist() == [2, 1, 1]
    assert payments.amount_minor_N.tolist() == [200, 300, 100]


def test_context_against_brute_force():
    rng = np.random.default_rng(0)
    size = 400
    payments = make_payments(
        time_N=rng.integers(0, 60 * DAY, size=size),
        customer_N=rng.integers(0, 12, size=size),
        terminal_N=rng.integers(0, 6, size=size),
        amount_N=rng.uniform(0, 50, size=size),
        fraud_N=rng.random(size) < 0.3,
    )
    found = counterparty_context(payments)
    delay = payments.label_delay_s
    for row in range(size):
        now = payments.time_N[row]
        others = (payments.counterparty_N == payments.counterparty_N[row]) & (
            payments.entity_N != payments.entity_N[row]
        )
        for column, days in ((0, 1), (1, 7), (2, 30), (7, 3), (8, 14), (9, 21)):
            inside = others & (payments.time_N < now - delay) & (payments.time_N >= now - delay - days * DAY)
            assert found[row, column] == inside.sum()
            risk = payments.fraud_N[inside].mean() if inside.any() else 0.0
            assert found[row, 3 + column] == pytest.approx(risk, abs=1e-12)
        month = others & (payments.time_N < now) & (payments.time_N >= now - 30 * DAY)
        mean = np.log1p(payments.amount_minor_N[month] / 100).mean() if month.any() else 0.0
        assert found[row, 6] == pytest.approx(mean, abs=1e-6)


def test_nothing_after_the_cut_changes_a_bit(world, episodes_of, entities):
    payments = world.payments
    cut_s = int(payments.time_N[0]) // DAY * DAY + 50 * DAY
    before = payments.time_N < cut_s
    rng = np.random.default_rng(1)
    after = np.flatnonzero(~before)
    shuffled = rng.permutation(after)
    other = replace(
        payments,
        **{
            name: np.concatenate([getattr(payments, name)[before], getattr(payments, name)[shuffled]])
            for name in ("entity_N", "counterparty_N", "amount_minor_N", "fraud_N")
        },
    )
    context, shuffled_context = counterparty_context(payments), counterparty_context(other)
    assert np.array_equal(context[before], shuffled_context[before])
    assert not np.array_equal(context[~before], shuffled_context[~before])
    cuts = Cuts(entity_E=entities, time_E=np.full(len(entities), cut_s), num_E=np.full(len(entities), 20))
    one, two = build_episodes(payments, context, cuts), build_episodes(other, shuffled_context, cuts)
    assert np.array_equal(one.support_EKF, two.support_EKF)
    for name, value in vars(one.history).items():
        assert np.array_equal(value, getattr(two.history, name)), name


def test_labels_are_read_only_when_due(world, context, entities):
    payments = world.payments
    cut_s = int(payments.time_N[0]) // DAY * DAY + 50 * DAY
    cuts = Cuts(entity_E=entities, time_E=np.full(len(entities), cut_s), num_E=np.full(len(entities), 20))
    flipped = replace(payments, fraud_N=payments.fraud_N ^ (payments.time_N > cut_s - payments.label_delay_s))
    one = build_episodes(payments, context, cuts)
    two = build_episodes(flipped, counterparty_context(flipped), cuts)
    assert np.array_equal(one.history.fraud_RK, two.history.fraud_RK)
    assert np.array_equal(one.support_EKF, two.support_EKF)
    due = one.history.time_RK + payments.label_delay_s <= cut_s
    assert np.array_equal(one.history.known_RK, one.history.mask_RK & due)
    assert 0 < one.history.known_RK.sum() < one.history.mask_RK.sum()


def test_support_and_query_against_brute_force(world, context, entities):
    payments = world.payments
    cut_s = int(payments.time_N[0]) // DAY * DAY + 40 * DAY
    cuts = Cuts(entity_E=entities[:20], time_E=np.full(20, cut_s), num_E=np.full(20, 5))
    found = build_episodes(payments, context, cuts)
    for index, entity in enumerate(entities[:20]):
        own = payments.entity_N == entity
        earlier = np.flatnonzero(own & (payments.time_N < cut_s))[-5:]
        mask = found.history.mask_RK[index]
        assert found.history.time_RK[index][mask].tolist() == payments.time_N[earlier].tolist()
        later = np.flatnonzero(own & (payments.time_N >= cut_s) & (payments.time_N < cut_s + 21 * DAY))
        assert found.row_R[found.episode_R == index].tolist() == later.tolist()


def test_unknown_entity_and_k_out_of_range(world, context):
    def cuts(entity, k):
        return Cuts(entity_E=np.array([entity]), time_E=np.array([1_525_000_000]), num_E=np.array([k]))

    with pytest.raises(UnknownNameError, match="999999"):
        build_episodes(world.payments, context, cuts(999_999, 5))
    with pytest.raises(BadInputError, match="Give 0 to 20"):
        build_episodes(world.payments, context, cuts(int(world.payments.entity_N[0]), 21))


def test_reader_names_what_is_missing(tmp_path):
    with pytest.raises(BadInputError, match="Name a Parquet or CSV file"):
        read_payment_table(tmp_path / "absent.parquet")
    pl.DataFrame({"TX_AMOUNT": [1.0]}).write_parquet(tmp_path / "part.parquet")
    with pytest.raises(BadInputError, match="CUSTOMER_ID"):
        read_payment_table(tmp_path / "part.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    with pytest.raises(BadInputError, match="Give a Parquet or CSV table"):
        read_payment_table(tmp_path / "broken.parquet")
    good = "TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n2018-04-01T00:00:31,1,2,{},0\n"
    (tmp_path / "empty.csv").write_text(good.format(""))
    with pytest.raises(BadInputError, match="TX_AMOUNT"):
        read_payment_table(tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text(good.splitlines()[0] + "\n")
    with pytest.raises(BadInputError, match="no rows"):
        read_payment_table(tmp_path / "header.csv")
    (tmp_path / "good.csv").write_text(good.format("57.16"))
    payments = read_payment_table(tmp_path / "good.csv")
    assert (payments.time_N[0], payments.amount_minor_N[0]) == (1_522_540_831, 5716)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2018-04-01T00:00:31,C1,2,1.5,0", "column CUSTOMER_ID"),
        ("2018-04-01T00:00:31,1,T2,1.5,0", "column TERMINAL_ID"),
        ("2018-04-01T00:00:31,1,2.5,1.5,0", "column TERMINAL_ID"),
        ("2018-04-01T00:00:31,1,2,much,0", "column TX_AMOUNT"),
        ("2018-04-01T00:00:31,1,2,1.5,maybe", "column TX_FRAUD"),
        ("2018-04-01T00:00:31,1,2,1.5,2", "TX_FRAUD, row 0"),
        ("2018-04-01T00:00:31,1,2,1.5,NaN", "TX_FRAUD, row 0"),
        ("yesterday,1,2,1.5,0", "column TX_DATETIME"),
        ("2018-04-01T00:00:31,-1,2,1.5,0", "customer, row 0"),
        ("2018-04-01T00:00:31,1,2,,0", "column TX_AMOUNT"),
    ],
)
def test_a_wrong_cell_names_its_column(tmp_path, row, what):
    path = tmp_path / "wrong.csv"
    path.write_text(f"TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n{row}\n")
    with pytest.raises(BadInputError) as caught:
        read_payment_table(path)
    assert caught.value.field == what


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_is_read_back(world, tmp_path, suffix):
    path = tmp_path / f"payments{suffix}"
    write_payments(world.payments.seen_from("terminal"), path)
    found = read_payment_table(path)
    for name in ("time_N", "entity_N", "counterparty_N", "amount_minor_N", "fraud_N"):
        assert np.array_equal(getattr(found, name), getattr(world.payments, name))


def test_both_sides(world):
    turned = world.payments.seen_from("terminal")
    assert np.array_equal(turned.entity_N, world.payments.counterparty_N)
    assert turned.seen_from("terminal") is turned
    assert np.array_equal(turned.seen_from("customer").entity_N, world.payments.entity_N)


@pytest.mark.data
def test_handbook_counts(data_folder):
    path = data_folder / "fraud-handbook" / "transactions.parquet"
    if not path.is_file():
        pytest.skip("WARMPROMPT_DATA holds no fraud-handbook")
    payments = read_payment_table(path)
    assert (len(payments), int(payments.fraud_N.sum())) == (1_754_155, 14_681)
    assert len(np.unique(payments.entity_N)) == 4_990
