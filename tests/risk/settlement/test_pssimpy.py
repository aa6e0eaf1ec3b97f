"""The same payments settle at the same times as in PSSimPy 0.1.5 (FIFO, no credit).

How its rules map onto ours, from its source (simulator/basic_sim.py, queues/fifo_queue.py):

- It works in windows. Payments due within a window are taken in, and stamped, at its start. Ours:
  `cycle_s` is the window, and due times are rounded down to it.
- Its last window starts before the close. Ours: the day ends one window earlier.
- Its FIFO queue goes past what a bank cannot afford, as with `bypass`.
- It compares each queued payment with the balance at the start of the window, and only then settles, so
  receipts count in the next window (as ours do) and a bank may spend the same money twice, as if it had
  credit. Where that happens (`spends_twice`) it does not keep its own rule; such systems are left
  out, and the tests count how many are compared.
- Payments of one window stand in its queue in no particular order, which makes no difference where
  no money is spent twice.
"""

import warnings

import numpy as np
import pytest

from warmprompt.risk.settlement import Rules, banks_table, payments_table, simulate_day

OPEN_MINUTE = 8 * 60


@pytest.fixture(scope="module")
def pssimpy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import PSSimPy
        from PSSimPy.credit_facilities import AbstractCreditFacility
        from PSSimPy.queues import FIFOQueue, PriorityQueue
        from PSSimPy.simulator import basic_sim

    class NoCredit(AbstractCreditFacility):
        def calculate_fee(self, *_):
            return 0

        def lend_credit(self, account, amount):
            """Lend nothing."""

        def collect_repayment(self, account):
            """Collect nothing."""

    def run(rows, opening, window, minutes, queue):
        """Return settlement minutes (NaN: never), or None where money was spent twice."""
        names = [f"bank {bank}" for bank in range(len(opening))]
        clock = [f"{(OPEN_MINUTE + row[0]) // 60:02d}:{(OPEN_MINUTE + row[0]) % 60:02d}" for row in rows]
        close = OPEN_MINUTE + minutes
        simulation = basic_sim.BasicSim(
            name="day",
            banks={"name": names},
            accounts={"id": names, "owner": names, "balance": list(opening)},
            transactions={
                "sender_account": [names[row[1]] for row in rows],
                "recipient_account": [names[row[2]] for row in rows],
                "amount": [row[3] for row in rows],
                "priority": [row[4] for row in rows],
                "time": clock,
                "row": list(range(len(rows))),
            },
            open_time="08:00",
            close_time=f"{close // 60:02d}:{close % 60:02d}",
            processing_window=window,
            constraint_handler=PSSimPy.constraint_handler.PassThroughHandler(),
            queue={"fifo": FIFOQueue, "priority": PriorityQueue}[queue](),
            credit_facility=NoCredit(),
        )
        simulation.run()
        settled = np.full(len(rows), np.nan)
        for payment, _, _ in simulation.transactions:
            if payment.settle_time:
                hours, _, rest = payment.settle_time.partition(":")
                settled[payment.row] = int(hours) * 60 + int(rest) - OPEN_MINUTE
        return None if spends_twice(rows, opening, settled) else settled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic_sim.Logger, "write", lambda *_: None)  # five files per simulated day
        yield run


def spends_twice(rows, opening, settled):
    """Return whether, at some minute, a bank sends more than it had when the minute began."""
    balance = np.array(opening)
    for minute in np.unique(settled[~np.isnan(settled)]):
        out, back = np.zeros_like(balance), np.zeros_like(balance)
        for row in np.flatnonzero(settled == minute):
            out[rows[row][1]] += rows[row][3]
            back[rows[row][2]] += rows[row][3]
        if (out > balance).any():
            return True
        balance += back - out
    return False


def random_system(rng, *, num_banks, num_payments, minutes):
    """Return payments as rows (minute, sender, receiver, amount, priority), and opening balances."""
    minute = np.sort(rng.integers(0, minutes, num_payments))
    sender = rng.integers(0, num_banks, num_payments)
    receiver = (sender + rng.integers(1, num_banks, num_payments)) % num_banks
    amount, priority = rng.integers(1, 40, num_payments), rng.integers(0, 3, num_payments)
    rows = list(
        zip(*(column.tolist() for column in (minute, sender, receiver, amount, priority)), strict=True)
    )
    return rows, rng.integers(0, 60, num_banks).tolist()


@pytest.mark.parametrize(("order", "window"), [("fifo", 1), ("fifo", 5), ("priority", 1)])
def test_the_same_payments_settle_at_the_same_minutes(pssimpy, order, window):
    rng = np.random.default_rng(0)
    num_compared = num_delayed = num_never = 0
    for _ in range(40):
        rows, opening = random_system(rng, num_banks=4, num_payments=14, minutes=40)
        theirs = pssimpy(rows, opening, window, 40, order)
        if theirs is None:
            continue
        minute, sender, receiver, amount, priority = np.array(rows).T
        payments = payments_table(
            time_s=minute // window * window * 60,
            sender=sender,
            receiver=receiver,
            amount_minor=amount,
            priority=priority,
            num_banks=4,
        )
        rules = Rules(close_s=60 * (40 - window), order=order, bypass=True, cycle_s=60 * window)
        ours = simulate_day(payments, banks_table(opening_minor=opening), rules, check=True).settle_s / 60
        np.testing.assert_array_equal(ours, theirs)
        num_compared += 1
        num_delayed += int((theirs > minute).sum())
        num_never += int(np.isnan(theirs).sum())
    # Enough systems in which money was not spent twice, with waiting and without an end to it.
    assert num_compared >= 12
    assert num_delayed >= 12
    assert num_never >= 20


def test_settling_at_once_agrees_where_one_payment_comes_at_a_time(pssimpy):
    # Payments 10 minutes apart leave time for whatever one of them sets off, a step a minute there and
    # at once here; the times agree within the 10 minutes. Windows are 1 minute.
    rng = np.random.default_rng(1)
    num_compared = num_delayed = 0
    for _ in range(40):
        rows, opening = random_system(rng, num_banks=4, num_payments=12, minutes=12)
        rows = [(10 * index, *row[1:]) for index, row in enumerate(rows)]
        theirs = pssimpy(rows, opening, 1, 120, "fifo")
        if theirs is None:
            continue
        minute, sender, receiver, amount, _ = np.array(rows).T
        payments = payments_table(
            time_s=minute * 60, sender=sender, receiver=receiver, amount_minor=amount, num_banks=4
        )
        rules = Rules(close_s=119 * 60, bypass=True)
        ours = simulate_day(payments, banks_table(opening_minor=opening), rules, check=True).settle_s / 60
        np.testing.assert_array_equal(ours, theirs // 10 * 10)
        num_compared += 1
        num_delayed += int((theirs > minute + 9).sum())
    assert num_compared >= 12
    assert num_delayed >= 10
