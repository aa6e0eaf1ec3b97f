"""Payments from ISO 20022 messages between banks: pacs.008 and pacs.009, and pacs.004 which returns them.

Messages come from strangers. The parser therefore sees a stream in pieces and never more than it
should: document types are refused before the parser meets them (so no entity, inner or external,
is ever declared), nothing is fetched, every piece counts against a limit on the whole stream, and
what is parsed is thrown away after each transaction, so that memory is bounded by the largest
single transaction allowed and not by the stream.

Only the elements that a settlement needs are read; they have the same names in all versions of the
messages, so any version is accepted (pacs.008.001.08, pacs.008.001.10, pacs.009.001.08, ...). A
message may stand alone or inside an envelope with a business header, as payment systems send it;
what counts is its own `Document`, that document's own body and header (`iso20022_stream`). This reader
does not validate against the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from lxml import etree

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network.iso20022_stream import (
    DEFAULT_MAX_BYTES,
    Body,
    body_parts,
    check_size,
    pieces,
)
from warmprompt.risk.network.payments import (
    Agent,
    CreditTransfer,
    PaymentReturn,
    clean_agent,
    clean_amount,
    clean_currency,
    moment,
)

_TOTALS = {
    "pacs.004": "TtlRtrdIntrBkSttlmAmt",
    "pacs.008": "TtlIntrBkSttlmAmt",
    "pacs.009": "TtlIntrBkSttlmAmt",
}
_TWICE = object()
_COUNT = re.compile(r"[0-9]{1,15}")
_SUM = re.compile(r"\+?(?=\.?[0-9])[0-9]{0,40}(\.[0-9]{0,20})?")


def read_payments(
    source: Path | BinaryIO, *, max_bytes: int = DEFAULT_MAX_BYTES
) -> Iterator[CreditTransfer | PaymentReturn]:
    """Yield the payments, or the returns of payments, of one message, in its order, while it is being read.

    Errors come while it is iterated: payments are final when the iteration has ended without one.

    Args:
        source: A file, or anything with `read(size)` that returns bytes.
        max_bytes: Largest message; a file beyond it is refused before it is opened, a stream as soon as
            it has brought more.

    Raises:
        BadInputError: It is no XML, another message than those read here (the error names it) or more than
            one, too large, has a document type or another encoding than UTF-8, or lacks, repeats or garbles
            an element that is needed.
        MismatchError: It holds another number of payments, or another sum, than its header gives.
    """
    name = str(source) if isinstance(source, Path) else "message"
    if isinstance(source, Path):
        if not source.is_file():
            raise BadInputError(field="message file", value=source, remedy="Name a file that exists.")
        check_size(source.stat().st_size, max_bytes, name)
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
        yield from _payments(body_parts(pieces(stream, max_bytes, name), name), name)


def _payments(parts: Iterator[Body], name: str) -> Iterator[CreditTransfer | PaymentReturn]:
    header: _Header | None = None
    num_payments, total, instructed_total = 0, Decimal(0), Decimal(0)
    for part in parts:
        if etree.QName(part.element).localname == "GrpHdr":
            if header is not None:
                raise _repeated("GrpHdr", name)
            header = _header(part, name)
            continue
        if header is None:
            raise _missing("GrpHdr before the transactions", name)
        num_payments += 1
        where = f"transaction {num_payments} of {name}"
        read = _return if header.kind == "pacs.004" else _payment
        found = _parts(part.element)
        payment = read(found, header, where)
        total += payment.amount
        instructed = _text(found, where, "InstdAmt")
        instructed_total += _decimal(instructed or "") or payment.amount
        yield payment
    if header is None or not num_payments:
        remedy = "Give a pacs.008, pacs.009 or pacs.004 message with at least one transaction."
        raise BadInputError(field=name, value="no credit transfer", remedy=remedy)
    _check_whole(header, num_payments, total, instructed_total)


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a group header gives for every transaction below it; `where` names the message in errors."""

    kind: str
    namespace: str
    where: str
    message_id: str
    num_payments: str
    total: str | None
    control_sum: str | None
    settlement_date: str | None
    created_at: str | None
    instructing: Agent | None
    instructed: Agent | None


def _header(part: Body, where: str) -> _Header:
    element = _parts(part.element)
    if _text(element, where, "GrpRtr") in {"true", "1"}:
        remedy = "Give a return of each transaction; a return of a whole group is not read."
        raise BadInputError(field=f"GrpRtr of {where}", value="true", remedy=remedy)
    return _Header(
        kind=part.family,
        namespace=etree.QName(part.element).namespace,
        where=where,
        message_id=_needed(element, where, "MsgId"),
        num_payments=_needed(element, where, "NbOfTxs"),
        total=_text(element, where, _TOTALS[part.family]),
        control_sum=_text(element, where, "CtrlSum"),
        settlement_date=_text(element, where, "IntrBkSttlmDt"),
        created_at=_text(element, where, "CreDtTm"),
        instructing=_agent(element, where, "InstgAgt"),
        instructed=_agent(element, where, "InstdAgt"),
    )


def _payment(element: dict[str, Any], header: _Header, where: str) -> CreditTransfer:
    debtor, creditor = ("DbtrAgt", "CdtrAgt") if header.kind == "pacs.008" else ("Dbtr", "Cdtr")
    amount = _needed(element, where, "IntrBkSttlmAmt")
    day = _text(element, where, "IntrBkSttlmDt") or header.settlement_date
    if day is None:
        raise _missing("IntrBkSttlmDt", where)
    times = (_text(element, where, "SttlmTmIndctn", tag) for tag in ("DbtDtTm", "CdtDtTm"))
    settlement_date, settled_at = moment(day, next((time for time in times if time), None), where)
    return CreditTransfer(
        kind=header.kind,
        message_id=header.message_id,
        end_to_end_id=_needed(element, where, "PmtId", "EndToEndId"),
        uetr=_text(element, where, "PmtId", "UETR"),
        amount=clean_amount(amount, where),
        currency=clean_currency(_child(element, where, "IntrBkSttlmAmt").get("Ccy"), where),
        instructing=_agent(element, where, "InstgAgt") or header.instructing,
        instructed=_agent(element, where, "InstdAgt") or header.instructed,
        debtor=_agent(element, where, debtor),
        creditor=_agent(element, where, creditor),
        settlement_date=settlement_date,
        settled_at=settled_at,
        created_at=header.created_at,
    )


def _return(element: dict[str, Any], header: _Header, where: str) -> PaymentReturn:
    uetr = _text(element, where, "OrgnlUETR")
    end_to_end_id = _text(element, where, "OrgnlEndToEndId")
    if uetr is None and end_to_end_id is None:
        raise _missing("OrgnlUETR, or OrgnlEndToEndId,", where)
    return PaymentReturn(
        namespace=header.namespace,
        message_id=header.message_id,
        original_uetr=uetr,
        original_message_id=_text(element, where, "OrgnlGrpInf", "OrgnlMsgId"),
        original_end_to_end_id=end_to_end_id,
        amount=clean_amount(_needed(element, where, "RtrdIntrBkSttlmAmt"), where),
        currency=clean_currency(_child(element, where, "RtrdIntrBkSttlmAmt").get("Ccy"), where),
        instructing=_agent(element, where, "InstgAgt") or header.instructing,
        instructed=_agent(element, where, "InstdAgt") or header.instructed,
    )


def _agent(element: Any, where: str, tag: str) -> Agent | None:
    """Return the institution under `tag`, or None if the element is absent or identifies nobody.

    An id of another scheme (`Othr`) names a bank that has none of the three usual ones.
    """
    bank = _child(element, where, tag, "FinInstnId")
    if bank is None:
        return None
    bank = _parts(bank)
    member = _id_of(bank, where, ("ClrSysMmbId", "MmbId"), ("ClrSysMmbId", "ClrSysId"))
    bic = _text(bank, where, "BICFI") or _text(bank, where, "BIC")
    lei = _text(bank, where, "LEI")
    if member is None and bic is None and lei is None:
        member = _id_of(bank, where, ("Othr", "Id"), ("Othr", "SchmeNm"))
    return clean_agent(bic=bic, lei=lei, member_id=member, where=f"{tag} of {where}")


def _id_of(bank: Any, where: str, path: tuple[str, ...], scheme: tuple[str, ...]) -> str | None:
    """Return an id behind the code of its scheme, if that is given."""
    found, system = _text(bank, where, *path), _child(bank, where, *scheme)
    code = None if system is None else _text(system, where, "Cd") or _text(system, where, "Prtry")
    return f"{code}/{found}" if found and code else found


def _check_whole(header: _Header, num_payments: int, total: Decimal, instructed_total: Decimal) -> None:
    """Refuse a message that lost or gained transactions on its way; numbers are compared as numbers."""
    announced = header.num_payments
    if not _COUNT.fullmatch(announced) or int(announced) != num_payments:
        remedy = f"Send the message again; it holds {num_payments}."
        raise MismatchError(field=f"NbOfTxs of {header.where}", value=announced, remedy=remedy)
    if header.total is not None and clean_amount(header.total, header.where) != total:
        remedy = f"Send the message again; its transactions sum to {total}."
        field = f"{_TOTALS[header.kind]} of {header.where}"
        raise MismatchError(field=field, value=header.total, remedy=remedy)
    # The standard does not say of which amounts; systems sum what is settled, or what was instructed.
    sums = {total, instructed_total}
    if header.control_sum is not None and _decimal(header.control_sum) not in sums:
        remedy = f"Send the message again; its transactions sum to {total}."
        raise MismatchError(field=f"CtrlSum of {header.where}", value=header.control_sum, remedy=remedy)


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if _SUM.fullmatch(text) else None


def _needed(element: Any, where: str, *path: str) -> str:
    text = _text(element, where, *path)
    if text is None:
        raise _missing("/".join(path), where)
    return text


def _parts(element: Any) -> dict[str, Any]:
    """Return the children in the element's own namespace by local name, `_TWICE` for what comes again."""
    prefix = element.tag.rpartition("}")[0] + "}"
    found: dict[str, Any] = {}
    for child in element:
        if child.tag.startswith(prefix):
            tag = child.tag[len(prefix) :]
            found[tag] = _TWICE if tag in found else child
    return found


def _child(element: Any, where: str, *path: str) -> Any:
    """Return the element at the end of a path of local names in the element's own namespace, or None.

    Args:
        element: Where the path begins: an element, or its `_parts`, which are then not looked for again.
        where: What it is called in errors.
        path: Local names.

    Raises:
        BadInputError: An element of the path is there twice: which one counts would be a guess.
    """
    for tag in path:
        if element is None:
            return None
        element = (element if isinstance(element, dict) else _parts(element)).get(tag)
        if element is _TWICE:
            raise _repeated(tag, where)
    return element


def _text(element: Any, where: str, *path: str) -> str | None:
    """Return the text at the end of a path, or None if there is none.

    Raises:
        BadInputError: As `_child`, or elements stand within the text, which would be read in part.
    """
    found = _child(element, where, *path)
    if found is not None and len(found):
        value = f"{path[-1]} holds {etree.QName(found[0]).localname}"
        raise BadInputError(field=f"{path[-1]} of {where}", value=value, remedy="Give text alone.")
    text = (found.text or "").strip() if found is not None else ""
    return text or None


def _missing(tag: str, where: str) -> BadInputError:
    return BadInputError(field=f"{tag} of {where}", value="missing", remedy="Give a complete message.")


def _repeated(tag: str, where: str) -> BadInputError:
    return BadInputError(field=f"{tag} of {where}", value="there twice", remedy="Give it once.")
