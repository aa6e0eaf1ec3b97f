"""Own payments from messages and tables: one day however it is written, settled as by hand."""

import io
import json

import numpy as np
import polars as pl
import pytest

from warmprompt.cli import run
from warmprompt.errors import BadInputError
from warmprompt.risk.network.iso20022 import read_payments
from warmprompt.risk.settlement import (
    Rules,
    day_from_messages,
    day_from_table,
    opening_balances,
    simulate_day,
)

# A pays B 10 at 9:00 and has 4; C pays A 8 at 10:00; B pays C 5 at 9:30 and has 5.
ROWS = [("09:00:00", "AAAAUS33", "BBBBUS33", 10), ("09:30:00", "BBBBUS33", "CCCCUS33", 5),
        ("10:00:00", "CCCCUS33", "AAAAUS33", 8)]  # fmt: skip
BALANCES = "bank,opening\nAAAAUS33,4\nBBBBUS33,5\nCCCCUS33,3.00\n"
NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pacs.008.001.08"


def message(number, time, payer, payee, amount, *, created=True):
    moment = f"<CreDtTm>2026-03-02T{time}-05:00</CreDtTm>" if created else ""
    settled = f"<DbtDtTm>2026-03-02T{time}-05:00</DbtDtTm>"
    settled = "" if created else f"<SttlmTmIndctn>{settled}</SttlmTmIndctn>"

    def agent(tag, bic):
        return f"<{tag}><FinInstnId><BICFI>{bic}</BICFI></FinInstnId></{tag}>"

    return (
        f'<Document xmlns="{NAMESPACE}"><FIToFICstmrCdtTrf><GrpHdr><MsgId>M{number}</MsgId>{moment}'
        f"<NbOfTxs>1</NbOfTxs></GrpHdr><CdtTrfTxInf><PmtId><EndToEndId>E{number}</EndToEndId></PmtId>"
        f'<IntrBkSttlmAmt Ccy="USD">{amount}</IntrBkSttlmAmt><IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt>'
        f"{settled}{agent('InstgAgt', payer)}{agent('InstdAgt', payee)}"
        "</CdtTrfTxInf></FIToFICstmrCdtTrf></Document>"
    )


def payments_of(*texts):
    return [payment for text in texts for payment in read_payments(io.BytesIO(text.encode()))]


def table(**columns):
    times, payers, payees, amounts = zip(*ROWS, strict=True)
    given = {"time": times, "payer": payers, "payee": payees, "amount": amounts} | columns
    return pl.DataFrame({name: column for name, column in given.items() if column is not None})


def same(one, other):
    assert one.nodes == other.nodes
    for name in ("time_s", "sender", "receiver", "amount_minor", "priority"):
        assert np.array_equal(getattr(one.payments, name), getattr(other.payments, name))
    assert (one.open_s, one.close_s) == (other.open_s, other.close_s)


def test_a_day_by_hand():
    day = day_from_table(table(), "t", currency="USD")
    banks = opening_balances(pl.read_csv(io.StringIO(BALANCES)), day.nodes, "b", currency="USD")
    assert (day.open_s, day.close_s) == (9 * 3600, 10 * 3600)
    result = simulate_day(day.payments, banks, Rules(open_s=day.open_s, close_s=day.close_s, bypass=True))
    # C has 3 + 5 for its 8, so A has 4 + 8 for its 10 at 10:00, an hour late.
    assert result.delay_s.tolist() == [3600, 0, 0]
    assert result.closing_minor.tolist() == [200, 1000, 0]


def test_messages_and_tables_in_any_order_are_one_day():
    expected = day_from_table(table(), "t", currency="USD")
    texts = [message(number, *row) for number, row in enumerate(ROWS)]
    same(day_from_messages(payments_of(*reversed(texts)), currency="USD"), expected)
    settled = [message(number, *row, created=False) for number, row in enumerate(ROWS)]
    same(day_from_messages(payments_of(*settled), currency="USD"), expected)
    seconds = table(
        time=None, time_s=[32_400.0, 34_200.0, 36_000.0], amount=None, amount_minor=[1000, 500, 800]
    )
    same(day_from_table(seconds[::-1], "t", currency="USD"), expected)
    stamps = table(time=[f"2026-03-02T{row[0]}-05:00" for row in ROWS], priority=[5, None, 5])
    same(day_from_table(stamps, "t", currency="USD"), expected)


def test_amounts_in_major_units_follow_the_currency():
    day = day_from_table(table(), "t", currency="JPY")
    assert day.payments.amount_minor.tolist() == [10, 5, 8]
    with pytest.raises(BadInputError, match="decimals"):
        day_from_table(table(amount=["1.5", "2", "3"]), "t", currency="JPY")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"time": ["09:00", "late", "10:00"]}, "row 2"),
        (
            {"time": ["2026-03-02T09:00:00", "2026-03-02T09:00:00Z", "2026-03-02T09:00:00"]},
            "some with an offset",
        ),
        ({"time": ["2026-03-02T09:00:00", "2026-03-03T10:00:00", "2026-03-02T09:00:00"]}, "hours apart"),
        ({"amount": [1, 0, 2]}, "row 2"),
        ({"payee": ["BBBBUS33", "", "AAAAUS33"]}, "row 2"),
        ({"payee": ["AAAAUS33", "CCCCUS33", "AAAAUS33"]}, "cannot pay itself"),
        ({"priority": [1, 2, 11]}, "priority"),
        ({"time": None}, "time or time_s"),
    ],
)
def test_a_wrong_table_is_refused(columns, said):
    with pytest.raises(BadInputError) as raised:
        day_from_table(table(**columns), "t", currency="USD")
    assert said in raised.value.line()


def test_a_message_without_a_time_is_refused():
    text = message(1, *ROWS[0]).replace("<CreDtTm>2026-03-02T09:00:00-05:00</CreDtTm>", "")
    with pytest.raises(BadInputError, match="CreDtTm"):
        day_from_messages(payments_of(text), currency="USD")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bank,opening\nAAAAUS33,4\nBBBBUS33,5\n", "CCCCUS33"),
        (BALANCES + "BBBBUS33,5\n", "BBBBUS33"),
        (BALANCES.replace("3.00", "-3"), "row 3"),
        (BALANCES.replace("opening", "money"), "opening_minor"),
    ],
)
def test_wrong_balances_are_refused(text, said):
    with pytest.raises(BadInputError) as raised:
        opening_balances(
            pl.read_csv(io.StringIO(text)), ["AAAAUS33", "BBBBUS33", "CCCCUS33"], "b", currency="USD"
        )
    assert said in raised.value.line()


def test_folders_and_globs_of_messages(capfd, tmp_path):
    folder = tmp_path / "messages" / "morning"
    folder.mkdir(parents=True)
    for number, row in enumerate(ROWS):
        (folder / f"{number}.xml").write_text(message(number, *row))
    (tmp_path / "balances.csv").write_text(BALANCES)
    links = []
    for given in (str(folder.parent), str(folder / "*.xml"), str(tmp_path / "**" / "*.xml")):
        assert run(["risk", "network", given, "--json"]) == 0
        links.append(json.loads(capfd.readouterr().out)["total"])
        command = ["risk", "simulate", f"--payments={given}", f"--balances={tmp_path / 'balances.csv'}"]
        assert run([*command, f"--plot={tmp_path / 'day.png'}", "--json"]) == 0
        printed = json.loads(capfd.readouterr().out)
        assert (printed["settled"], printed["value_unsettled_minor_units"]) == (3, 0)
    assert links == [2300, 2300, 2300]
    assert (tmp_path / "day.png").read_bytes()[:4] == b"\x89PNG"
    for command, said in (
        (["network", str(tmp_path / "no" / "*.xml")], "no file"),
        (["simulate", f"--payments={tmp_path / 'messages'}", "--liquidity=-1"], "--liquidity"),
        (["simulate", "--payments=10", f"--balances={tmp_path / 'balances.csv'}"], "--balances"),
        (["simulate", f"--payments={tmp_path / 'none.csv'}"], "exists"),
    ):
        assert run(["risk", *command]) == 2
        assert said in capfd.readouterr().err
