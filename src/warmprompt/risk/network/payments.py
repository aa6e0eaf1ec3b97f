"""One payment between banks, and the network that many of them make.

Amounts are decimals as written until they become whole minor units of their currency; no float
comes in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from warmprompt.errors import BadInputError
from warmprompt.risk.network.graph import PaymentNetwork, network_from_edges

Parties = Literal["settling", "original"]

# ISO 4217, currencies whose minor unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_DIGITS = {**dict.fromkeys(_WHOLE.split(), 0), **dict.fromkeys(_THOUSANDTHS.split(), 3), "CLF": 4, "UYW": 4}
# ISO 20022 ActiveCurrencyAndAmount: 18 digits in all, 5 of them after the point, no exponent. Zeros before
# and behind the number, and a plus sign, are no part of it (XML Schema 2, decimal).
_AMOUNT = re.compile(r"\+?(?=\.?\d)0{0,40}(\d{0,18})(?:\.(\d{0,5}?)0{0,40})?", re.ASCII)
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")
_LEI = re.compile(r"[A-Z0-9]{18}\d{2}", re.ASCII)
_MEMBER_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A bank as a message identifies it; at least one of the three is there.

    Attributes:
        bic: Business identifier code, 8 characters, or 11 for a branch.
        lei: Legal entity identifier, 20 characters.
        member_id: Id in a clearing system, with the system's code if given: "USABA/021000021".
    """

    bic: str | None = None
    lei: str | None = None
    member_id: str | None = None

    @property
    def id(self) -> str:
        """The participant id in a network: clearing member id, else BIC, else LEI."""
        return self.member_id or self.bic or self.lei or ""


@dataclass(frozen=True, kw_only=True)
class CreditTransfer:
    """One credit transfer between banks.

    Attributes:
        kind: "pacs.008" (for a customer) or "pacs.009" (for a bank itself).
        message_id: Id of the message it came in.
        end_to_end_id: Id given by who started it.
        uetr: Unique end-to-end transaction reference, where there is one.
        amount: In major units, exactly as written; above zero.
        currency: ISO 4217 code.
        instructing: Who pays in this leg.
        instructed: Who is paid in this leg.
        debtor: First bank of the chain: the debtor's agent, or in pacs.009 the debtor.
        creditor: Last bank of the chain: the creditor's agent, or in pacs.009 the creditor.
        settlement_date: Day of settlement between the banks.
        settled_at: Time the payer (else the payee) was booked, with its offset, where the message gives it.
        created_at: When the message was created, as written, where it says so.
    """

    kind: str
    message_id: str
    end_to_end_id: str
    uetr: str | None
    amount: Decimal
    currency: str
    instructing: Agent | None
    instructed: Agent | None
    debtor: Agent | None
    creditor: Agent | None
    settlement_date: date
    settled_at: datetime | None
    created_at: str | None = None

    @property
    def amount_minor(self) -> int:
        """The amount in whole minor units of its currency.

        Raises:
            BadInputError: It has more decimals than the currency.
        """
        return minor_units(self.amount, self.currency)


@dataclass(frozen=True, kw_only=True)
class PaymentReturn:
    """A return of one payment, whole or in part; it takes back what it returns.

    Attributes:
        namespace: Of the message it came in, which names family and version.
        message_id: Id of that message.
        original_uetr: UETR of the payment, where it has one.
        original_message_id: Id of the message that the payment came in, where it is given.
        original_end_to_end_id: End-to-end id of the payment; there where no UETR is.
        amount: What is returned, in major units; above zero.
        currency: ISO 4217 code.
        instructing: Who pays back in this leg, where it is given: who was paid.
        instructed: Who gets it back, where it is given: who had paid.
    """

    namespace: str
    message_id: str
    original_uetr: str | None
    original_message_id: str | None
    original_end_to_end_id: str | None
    amount: Decimal
    currency: str
    instructing: Agent | None = None
    instructed: Agent | None = None


def network_from_payments(
    payments: Iterable[CreditTransfer | PaymentReturn],
    *,
    currency: str,
    parties: Parties = "settling",
    nodes: Sequence[str] | None = None,
) -> PaymentNetwork:
    """Add up payments into one link per payer and payee, in minor units, less what was returned.

    Args:
        payments: Payments of one currency, and returns of some of them in any order; those of one pair are
            summed. A payment that was returned whole is no link.
        currency: The one that all of them must have.
        parties: "settling" takes the instructing and instructed agent of this leg; "original" the first
            and last bank of the chain.
        nodes: The participants allowed and their order; None takes all that occur, sorted.

    Raises:
        BadInputError: There is no payment, one has another currency or lacks a party, a leg of one comes
            twice (same UETR, payer and payee), or a bank pays itself; or a return is of no payment given, of
            several, or of more than was paid. Original parties with a UETR that comes twice: its legs would
            count one payment several times.
        UnknownNameError: A bank is not among `nodes`.
    """
    ledger = _Ledger(currency=currency, one_leg=parties == "original")
    returns = []
    for payment in payments:
        if isinstance(payment, PaymentReturn):
            returns.append(payment)
        else:
            ledger.add(payment, *_parties(payment, parties))
    for one in returns:
        ledger.take_back(one)
    if not ledger.amounts:
        raise BadInputError(field="payments", value="none", remedy="Give at least one payment.")
    left = [row for row, amount in enumerate(ledger.amounts) if amount]
    if not left:
        remedy = "Every payment was returned: no link is left."
        raise BadInputError(field="payments", value="none", remedy=remedy)
    payers, payees = ([column[row] for row in left] for column in (ledger.payers, ledger.payees))
    amounts = [ledger.amounts[row] for row in left]
    return network_from_edges(payers, payees, amounts, nodes=nodes, duplicates="sum", currency=currency)


def _parties(payment: CreditTransfer, parties: Parties) -> tuple[str, str]:
    if parties == "settling":
        payer, payee = payment.instructing, payment.instructed
    else:
        payer, payee = payment.debtor, payment.creditor
    if payer is None or payee is None:
        remedy = "Give both parties, or build the network of the other parties of the payments."
        raise BadInputError(
            field=f"{parties} parties of payment {payment.end_to_end_id}", value="missing", remedy=remedy
        )
    return payer.id, payee.id


@dataclass(kw_only=True)
class _Ledger:
    """Payments as rows, and by which names a return finds them.

    A payment may pass several banks: its legs share the UETR, and each is a row. `one_leg` allows only one.
    """

    currency: str
    one_leg: bool
    payers: list[str] = field(default_factory=list)
    payees: list[str] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)
    by_uetr: dict[str, list[int]] = field(default_factory=dict)
    by_end_to_end: dict[str, list[tuple[CreditTransfer, int]]] = field(default_factory=dict)

    def add(self, payment: CreditTransfer, payer: str, payee: str) -> None:
        self._check_currency(payment.currency, f"payment {payment.end_to_end_id}")
        row = len(self.amounts)
        if payment.uetr is not None:
            legs = self.by_uetr.setdefault(payment.uetr.lower(), [])
            if legs and self.one_leg:
                remedy = (
                    "Its legs are one payment of its original parties; give one, or take settling parties."
                )
                raise BadInputError(field="UETR", value=f"{payment.uetr} comes twice", remedy=remedy)
            if any((self.payers[leg], self.payees[leg]) == (payer, payee) for leg in legs):
                remedy = f"It comes twice from {payer} to {payee}; give each leg once."
                raise BadInputError(field="UETR", value=payment.uetr, remedy=remedy)
            legs.append(row)
        self.by_end_to_end.setdefault(payment.end_to_end_id, []).append((payment, row))
        self.payers.append(payer)
        self.payees.append(payee)
        self.amounts.append(payment.amount_minor)

    def take_back(self, one: PaymentReturn) -> None:
        self._check_currency(one.currency, f"return {one.message_id}")
        row, name = self._returned(one)
        left = self.amounts[row] - minor_units(one.amount, one.currency)
        if left < 0:
            remedy = f"Of it {self.amounts[row]} minor units are left to return."
            raise BadInputError(field=f"return of payment {name}", value=one.amount, remedy=remedy)
        self.amounts[row] = left

    def _returned(self, one: PaymentReturn) -> tuple[int, str]:
        """Return the row of the payment that is returned, and its name.

        The UETR decides where both have one; else the end-to-end id, within the message where it is given.
        Of several legs it is the one between the two banks of the return.
        """
        name = one.original_uetr or one.original_end_to_end_id or ""
        rows = self.by_uetr.get((one.original_uetr or "").lower(), [])
        if not rows:
            rows = [
                row
                for payment, row in self.by_end_to_end.get(one.original_end_to_end_id or "", ())
                if one.original_message_id in (None, payment.message_id)
                and None in (one.original_uetr, payment.uetr)
            ]
        rows = self._between(one, rows)
        if len(rows) == 1:
            return rows[0], name
        what = "several payments have that id" if rows else "not among the payments given"
        remedy = (
            "Give the message with the payment it returns, too, and its UETR where ids repeat; "
            "of a payment over several legs, InstgAgt and InstdAgt of the return say which."
        )
        raise BadInputError(
            field=f"payment that {one.message_id} ({one.namespace}) returns",
            value=f"{name}: {what}",
            remedy=remedy,
        )

    def _between(self, one: PaymentReturn, rows: list[int]) -> list[int]:
        """Return the rows between the two banks of a return, those it turns round before others."""
        if self.one_leg or one.instructing is None or one.instructed is None:
            return rows
        back = one.instructed.id, one.instructing.id
        turned = [row for row in rows if (self.payers[row], self.payees[row]) == back]
        return turned or [row for row in rows if {self.payers[row], self.payees[row]} == {*back}]

    def _check_currency(self, currency: str, name: str) -> None:
        if currency != self.currency:
            remedy = f"Give payments in {self.currency} only."
            raise BadInputError(field=f"currency of {name}", value=currency, remedy=remedy)


def decimals_of(currency: str) -> int:
    """Return how many decimals an amount of a currency has: 2 for most (ISO 4217)."""
    return _DIGITS.get(currency, 2)


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount in whole minor units, such as cents (ISO 4217).

    Raises:
        BadInputError: The amount has more decimals than the currency.
    """
    digits = decimals_of(currency)
    scaled = amount.scaleb(digits)
    if scaled != int(scaled):
        remedy = f"Give at most {digits} decimals."
        raise BadInputError(field=f"amount in {currency}", value=amount, remedy=remedy)
    return int(scaled)


def clean_amount(text: str, where: str) -> Decimal:
    """Return a positive amount as written, or refuse it."""
    found = _AMOUNT.fullmatch(text)
    amount = Decimal(text) if found and len(found[1] + (found[2] or "")) <= 18 else Decimal(0)
    if not amount:
        remedy = "Give a number above zero of at most 18 digits, 5 of them after a point."
        raise BadInputError(field=f"amount of {where}", value=text, remedy=remedy)
    return amount


def clean_currency(text: str | None, where: str) -> str:
    """Return a currency code, or refuse it."""
    if text is None or not re.fullmatch("[A-Z]{3}", text):
        raise BadInputError(field=f"Ccy of {where}", value=text, remedy="Give three capital letters.")
    return text


def clean_agent(*, bic: str | None, lei: str | None, member_id: str | None, where: str) -> Agent | None:
    """Return an agent with checked ids, or None if there is none of the three.

    The BIC of a head office loses its branch code "XXX", no placeholder: in ISO 9362 its 8 characters
    mean the same.
    """
    if bic is not None and not _BIC.fullmatch(bic):
        raise BadInputError(field=f"BIC of {where}", value=bic, remedy="Give 8 or 11 characters, ISO 9362.")
    if lei is not None and not _is_lei(lei):
        raise BadInputError(
            field=f"LEI of {where}",
            value=lei,
            remedy="Give 20 characters with their check digits, ISO 17442.",
        )
    if member_id is not None and len(member_id) > _MEMBER_LENGTH:
        remedy = f"Give at most {_MEMBER_LENGTH} characters."
        raise BadInputError(field=f"MmbId of {where}", value=member_id, remedy=remedy)
    if bic is None and lei is None and member_id is None:
        return None
    return Agent(bic=bic.removesuffix("XXX") if bic and len(bic) == 11 else bic, lei=lei, member_id=member_id)


def moment(day: str, time: str | None, where: str) -> tuple[date, datetime | None]:
    """Return the settlement day and, where given, the settlement time, with its offset if it has one."""
    try:
        # An XML day may carry an offset of its own, which adds nothing to a settlement day.
        settled = date.fromisoformat(re.sub(r"(Z|[+-]\d\d:\d\d)$", "", day))
        return settled, datetime.fromisoformat(time) if time else None
    except ValueError:
        raise BadInputError(
            field=f"settlement date or time of {where}",
            value=f"{day}, {time}",
            remedy="Write them as ISO 8601.",
        ) from None


def _is_lei(text: str) -> bool:
    """Check digits by ISO 7064 MOD 97-10: letters as 10 to 35, the whole number is 1 modulo 97."""
    return bool(_LEI.fullmatch(text)) and int("".join(str(int(sign, 36)) for sign in text)) % 97 == 1
