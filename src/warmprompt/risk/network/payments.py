"""One payment between banks, and the network that many of them make.

Amounts are decimals as written until they become whole minor units of their currency; no float
comes in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
# ISO 20022 ActiveCurrencyAndAmount: 18 digits in all, 5 of them after the point, no sign, no exponent.
_AMOUNT = re.compile(r"(?=[\d.]{1,19}$)\d{1,18}(\.\d{1,5})?", re.ASCII)
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
class Payment:
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
        settled_at: Time the payer (else the payee) was booked, with its offset, where the message says so.
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

    @property
    def amount_minor(self) -> int:
        """The amount in whole minor units of its currency.

        Raises:
            BadInputError: It has more decimals than the currency.
        """
        return minor_units(self.amount, self.currency)


def network_from_payments(
    payments: Iterable[Payment],
    *,
    currency: str,
    parties: Parties = "settling",
    nodes: Sequence[str] | None = None,
) -> PaymentNetwork:
    """Add up payments into one link per payer and payee, in minor units.

    Args:
        payments: Payments of one currency; those of one pair are summed.
        currency: The one that all of them must have.
        parties: "settling" takes the instructing and instructed agent of this leg; "original" the first
            and last bank of the chain.
        nodes: The participants allowed and their order; None takes all that occur, sorted.

    Raises:
        BadInputError: There is no payment, one has another currency or lacks a party, one comes twice
            (same UETR), or a bank pays itself.
        UnknownNameError: A bank is not among `nodes`.
    """
    payers, payees, amounts, seen = [], [], [], set()
    for payment in payments:
        if payment.currency != currency:
            remedy = f"Give payments in {currency} only."
            raise BadInputError(
                field=f"currency of payment {payment.end_to_end_id}", value=payment.currency, remedy=remedy
            )
        if payment.uetr is not None and payment.uetr in seen:
            raise BadInputError(field="UETR", value=payment.uetr, remedy="It comes twice; give it once.")
        seen.add(payment.uetr)
        if parties == "settling":
            payer, payee = payment.instructing, payment.instructed
        else:
            payer, payee = payment.debtor, payment.creditor
        if payer is None or payee is None:
            remedy = "Give both parties, or build the network of the other parties of the payments."
            raise BadInputError(
                field=f"{parties} parties of payment {payment.end_to_end_id}", value="missing", remedy=remedy
            )
        payers.append(payer.id)
        payees.append(payee.id)
        amounts.append(payment.amount_minor)
    if not payers:
        raise BadInputError(field="payments", value="none", remedy="Give at least one payment.")
    return network_from_edges(payers, payees, amounts, nodes=nodes, duplicates="sum", currency=currency)


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount in whole minor units, such as cents (ISO 4217).

    Raises:
        BadInputError: The amount has more decimals than the currency.
    """
    digits = _DIGITS.get(currency, 2)
    scaled = amount.scaleb(digits)
    if scaled != int(scaled):
        remedy = f"Give at most {digits} decimals."
        raise BadInputError(field=f"amount in {currency}", value=amount, remedy=remedy)
    return int(scaled)


def clean_amount(text: str, where: str) -> Decimal:
    """Return a positive amount as written, or refuse it."""
    amount = Decimal(text) if _AMOUNT.fullmatch(text) else Decimal(0)
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
