"""From payments to a network: exact sums in the currency's own minor unit, and stated refusals."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.network.payments import (
    Agent,
    CreditTransfer,
    PaymentReturn,
    minor_units,
    network_from_payments,
)


def payment(payer="AAAAUS33", payee="BBBBUS33", amount="1.00", **changes):
    base = CreditTransfer(
        kind="pacs.009",
        message_id="M",
        end_to_end_id="E",
        uetr=None,
        amount=Decimal(amount),
        currency="USD",
        instructing=Agent(bic=payer),
        instructed=Agent(bic=payee),
        debtor=Agent(bic="FIRSTUS3"),
        creditor=Agent(bic="LASTUS33"),
        settlement_date=date(2026, 3, 2),
        settled_at=None,
    )
    return replace(base, **changes)


def test_payments_of_a_pair_are_summed_exactly():
    # Ten times 0.1 is not 1 in floats.
    network = network_from_payments(
        [payment(amount="0.1")] * 10 + [payment("BBBBUS33", "AAAAUS33")], currency="USD"
    )
    assert network.amount("AAAAUS33", "BBBBUS33") == 100
    assert network.amount("BBBBUS33", "AAAAUS33") == 100
    assert network.currency == "USD"


def test_the_network_of_the_original_parties_is_another():
    network = network_from_payments([payment()], currency="USD", parties="original")
    assert network.nodes == ("FIRSTUS3", "LASTUS33")


def test_a_clearing_member_is_called_by_that_id_before_any_other():
    assert Agent(bic="AAAAUS33", lei="L" * 20, member_id="USABA/1").id == "USABA/1"
    assert Agent(bic="AAAAUS33", lei="L" * 20).id == "AAAAUS33"
    assert Agent(lei="L" * 20).id == "L" * 20


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1.5", "USD", 150),
        ("12", "JPY", 12),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("12.00", "JPY", 12),
    ],
)
def test_minor_units_follow_the_currency(amount, currency, expected):
    assert minor_units(Decimal(amount), currency) == expected


@pytest.mark.parametrize(("amount", "currency"), [("1.005", "USD"), ("0.5", "JPY"), ("0.00001", "BHD")])
def test_an_amount_finer_than_the_currency_is_refused(amount, currency):
    with pytest.raises(BadInputError, match=f"amount in {currency}"):
        minor_units(Decimal(amount), currency)


@pytest.mark.parametrize(
    ("payments", "message"),
    [
        ([], "at least one payment"),
        ([payment(currency="EUR")], "payments in USD only"),
        ([payment(instructing=None)], "settling parties of payment E"),
        ([payment(uetr="u"), payment(uetr="u")], "UETR: 'u'. It comes twice from AAAAUS33 to BBBBUS33"),
        ([payment(uetr="ab"), payment(uetr="AB")], "UETR: 'AB'. It comes twice"),
        (
            [payment(uetr="u"), payment("BBBBUS33", "CCCCUS33", uetr="u"), payment(uetr="u")],
            "UETR: 'u'. It comes twice from AAAAUS33 to BBBBUS33",
        ),
        ([payment("AAAAUS33", "AAAAUS33")], "self-loop: 'AAAAUS33'"),
    ],
)
def test_what_makes_no_network_is_refused(payments, message):
    with pytest.raises(BadInputError, match=message):
        network_from_payments(payments, currency="USD")


def test_a_payment_over_several_legs_is_a_link_per_leg():
    legs = [
        payment("AAAAUS33", "BBBBUS33", uetr="u", amount="5.00"),
        payment("BBBBUS33", "CCCCUS33", uetr="u", amount="4.90"),
        payment("AAAAUS33", "DDDDUS33", uetr="u", amount="5.00", kind="pacs.009"),
        payment("BBBBUS33", "AAAAUS33", uetr="u", amount="1.00"),
    ]
    network = network_from_payments(legs, currency="USD")
    assert network.num_links == 4
    assert network.amount("BBBBUS33", "CCCCUS33") == 490
    with pytest.raises(BadInputError, match="Its legs are one payment of its original parties"):
        network_from_payments(legs, currency="USD", parties="original")


def back(uetr="u", amount="1.00", **changes):
    base = PaymentReturn(
        namespace="urn:pacs.004.001.10",
        message_id="R",
        original_uetr=uetr,
        original_message_id=None,
        original_end_to_end_id=None,
        amount=Decimal(amount),
        currency="USD",
    )
    return replace(base, **changes)


def test_a_return_takes_back_what_it_returns_whichever_comes_first():
    first, second = payment(uetr="u", amount="5.00"), payment("BBBBUS33", "CCCCUS33", uetr="v")
    for given in ([first, second, back(amount="1.50")], [back(amount="1.50"), first, second]):
        network = network_from_payments(given, currency="USD")
        assert network.amount("AAAAUS33", "BBBBUS33") == 350
        assert network.amount("BBBBUS33", "CCCCUS33") == 100


def test_a_payment_returned_whole_is_no_link():
    given = [
        payment(uetr="u"),
        payment("BBBBUS33", "CCCCUS33", uetr="v"),
        back(amount="0.40"),
        back(amount="0.60"),
    ]
    network = network_from_payments(given, currency="USD")
    assert network.nodes == ("BBBBUS33", "CCCCUS33")
    assert network.total == 100


def legs_and_return(payer=None, payee=None, **changes):
    banks = {"instructing": payer and Agent(bic=payer), "instructed": payee and Agent(bic=payee)}
    first = payment("AAAAUS33", "BBBBUS33", uetr="u", amount="5.00")
    second = payment("BBBBUS33", "CCCCUS33", uetr="u", amount="5.00")
    return [first, second, back(amount="2.00", **banks, **changes)]


@pytest.mark.parametrize(
    ("payer", "payee", "left"),
    [
        ("BBBBUS33", "AAAAUS33", (300, 500)),
        ("CCCCUS33", "BBBBUS33", (500, 300)),
        ("BBBBUS33", "CCCCUS33", (500, 300)),
    ],
)
def test_a_return_takes_back_the_leg_between_its_banks(payer, payee, left):
    network = network_from_payments(legs_and_return(payer, payee), currency="USD")
    assert (network.amount("AAAAUS33", "BBBBUS33"), network.amount("BBBBUS33", "CCCCUS33")) == left


def test_a_return_takes_back_the_leg_that_it_turns_round():
    round_trip = [payment("AAAAUS33", "BBBBUS33", uetr="u"), payment("BBBBUS33", "AAAAUS33", uetr="u")]
    one = back(amount="0.25", instructing=Agent(bic="BBBBUS33"), instructed=Agent(bic="AAAAUS33"))
    network = network_from_payments([*round_trip, one], currency="USD")
    assert network.amount("AAAAUS33", "BBBBUS33") == 75
    assert network.amount("BBBBUS33", "AAAAUS33") == 100


@pytest.mark.parametrize(
    "names",
    [
        {"original_end_to_end_id": "E1"},
        {"original_end_to_end_id": "E1", "original_message_id": "M1"},
        {"original_end_to_end_id": "E2", "original_message_id": "M1"},
        {"original_end_to_end_id": "E1", "original_uetr": "unheard"},
    ],
)
def test_without_a_uetr_the_end_to_end_id_names_the_payment(names):
    given = [
        payment(end_to_end_id="E1", message_id="M1"),
        payment(end_to_end_id="E2", message_id="M1"),
        payment(end_to_end_id="E2", message_id="M2"),
    ]
    one = replace(back(None, "0.25"), **names)
    assert network_from_payments([*given, one], currency="USD").total == 275


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([payment(uetr="u"), back("w")], r"payment that R \(urn:pacs.004.001.10\) returns: 'w: not among"),
        ([back("w")], "not among the payments given"),
        ([payment(uetr="u"), replace(back("w"), original_end_to_end_id="E")], "not among the payments given"),
        ([payment(), payment(), replace(back(None), original_end_to_end_id="E")], "several payments"),
        (legs_and_return(), "several payments.*InstgAgt and InstdAgt of the return say which"),
        (legs_and_return("DDDDUS33", "AAAAUS33"), "not among the payments given"),
        ([payment(uetr="u"), back(amount="1.01")], "100 minor units are left"),
        ([payment(uetr="u"), back(amount="0.6"), back(amount="0.6")], "40 minor units are left"),
        ([payment(uetr="u"), back(currency="EUR")], "currency of return R"),
        ([payment(uetr="u"), back()], "Every payment was returned"),
    ],
)
def test_a_return_that_cannot_be_taken_back_is_refused(given, message):
    with pytest.raises(BadInputError, match=message):
        network_from_payments(given, currency="USD")


def test_a_bank_outside_the_list_is_refused():
    with pytest.raises(UnknownNameError, match="BBBBUS33"):
        network_from_payments([payment()], currency="USD", nodes=["AAAAUS33"])
