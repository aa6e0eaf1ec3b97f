"""Payments from ISO 20022 credit transfers between banks: pacs.008 and pacs.009.

Messages come from strangers. The parser therefore sees a stream in pieces and never more than it
should: document types are refused before the parser meets them (so no entity, inner or external,
is ever declared), nothing is fetched, every piece counts against a limit on the whole stream, and
what is parsed is thrown away after each transaction, so that memory is bounded by the largest
single transaction allowed and not by the stream.

Only the elements that a settlement needs are read; they are named alike in all versions of the two
messages, so any version is accepted (pacs.008.001.08, pacs.008.001.10, pacs.009.001.08, ...). A
message may stand alone or inside an envelope with a business header, as payment systems send it.
This reader does not validate against the schema.
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
from warmprompt.risk.network.payments import Agent, Payment, clean_agent, clean_amount, clean_currency, moment

DEFAULT_MAX_BYTES = 64 * 2**20
MAX_TRANSACTION_BYTES = 2**20
_PIECE_BYTES = 2**16
_NAMESPACE = re.compile(r"urn:iso:std:iso:20022:tech:xsd:(pacs\.00[89])\.001\.\d\d")
_BODIES = {"pacs.008": "FIToFICstmrCdtTrf", "pacs.009": "FICdtTrf"}
_WATCHED = ("{*}GrpHdr", "{*}CdtTrfTxInf")
_DOCTYPE = b"<!DOCTYPE"


def read_payments(source: Path | BinaryIO, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Iterator[Payment]:
    """Yield the payments of one message, in its order, while it is being read.

    Errors come while it is iterated: payments are final when the iteration has ended without one.

    Args:
        source: A file, or anything with `read(size)` that returns bytes.
        max_bytes: Largest message; a file beyond it is refused before it is opened, a stream as soon as
            it has brought more.

    Raises:
        BadInputError: It is no XML, no pacs.008 or pacs.009, too large, has a document type or another
            encoding than UTF-8, or lacks or garbles an element that is needed.
        MismatchError: It holds another number of payments, or another sum, than its header says.
    """
    name = str(source) if isinstance(source, Path) else "message"
    if isinstance(source, Path):
        if not source.is_file():
            raise BadInputError(field="message file", value=source, remedy="Name a file that exists.")
        _check_size(source.stat().st_size, max_bytes, name)
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
        yield from _payments(_pieces(stream, max_bytes, name), name)


def _check_size(num_bytes: int, max_bytes: int, name: str) -> None:
    if num_bytes > max_bytes:
        remedy = f"Give a message of at most {max_bytes} bytes, or raise the limit."
        raise BadInputError(field=f"size of {name}", value=num_bytes, remedy=remedy)


def _pieces(stream: BinaryIO, max_bytes: int, name: str) -> Iterator[bytes]:
    """Yield a stream in pieces after refusing what no message may hold: too much, a document type, NUL."""
    seen, tail = 0, b""
    while piece := stream.read(_PIECE_BYTES):
        seen += len(piece)
        _check_size(seen, max_bytes, name)
        # UTF-16 and UTF-32 would hide a document type from the search below; both are full of NUL.
        if b"\0" in piece or (seen == len(piece) and piece[:2] in {b"\xff\xfe", b"\xfe\xff"}):
            raise BadInputError(field=name, value="not UTF-8", remedy="Encode messages as UTF-8.")
        if _DOCTYPE in tail + piece:
            raise BadInputError(
                field=name,
                value="<!DOCTYPE",
                remedy="Remove the document type; ISO 20022 messages have none.",
            )
        tail = piece[-len(_DOCTYPE) + 1 :]
        yield piece
    if not seen:
        raise BadInputError(field=name, value="empty", remedy="Give a pacs.008 or pacs.009 message.")


def _payments(pieces: Iterator[bytes], name: str) -> Iterator[Payment]:
    parser = etree.XMLPullParser(
        events=("end",),
        tag=_WATCHED,
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    header: _Header | None = None
    num_payments, total, held = 0, Decimal(0), 0
    for found in _elements(parser, pieces, name):
        if isinstance(found, int):
            held += found
            _check_held(held, name)
            continue
        kind = _kind(found)
        if kind is None:
            continue
        if etree.QName(found).localname == "GrpHdr":
            header = _header(found, kind, name)
            continue
        if header is None:
            raise _missing("GrpHdr before the transactions", name)
        payment = _payment(found, header, num_payments + 1)
        _forget(found)
        num_payments, total, held = num_payments + 1, total + payment.amount, 0
        yield payment
    if header is None or not num_payments:
        remedy = "Give a pacs.008 or pacs.009 message with at least one transaction."
        raise BadInputError(field=name, value="no credit transfer", remedy=remedy)
    _check_whole(header, num_payments, total)


def _check_held(held: int, name: str) -> None:
    """Refuse to collect more than one transaction may have: `held` bytes came since the last one ended."""
    if held > MAX_TRANSACTION_BYTES + _PIECE_BYTES:
        remedy = f"Give transactions of at most {MAX_TRANSACTION_BYTES} bytes each."
        raise BadInputError(field=f"one transaction of {name}", value=held, remedy=remedy)


def _elements(parser: Any, pieces: Iterator[bytes], name: str) -> Iterator[Any]:
    """Yield the size of each piece before it is parsed, then the watched elements that it completed."""
    try:
        for piece in pieces:
            yield len(piece)
            parser.feed(piece)
            for _, element in parser.read_events():
                yield element
        parser.close()
    except etree.XMLSyntaxError as error:
        raise BadInputError(
            field=f"XML of {name}", value=error.msg, remedy="Give well-formed XML."
        ) from error


def _kind(element: Any) -> str | None:
    """Return pacs.008 or pacs.009 if the element stands where such a message has it."""
    found = _NAMESPACE.fullmatch(etree.QName(element).namespace or "")
    parent = element.getparent()
    if found is None or parent is None or etree.QName(parent).localname != _BODIES[found[1]]:
        return None
    return found[1]


def _forget(element: Any) -> None:
    """Drop an element's content and everything before it, so that the tree does not grow."""
    element.clear()
    parent = element.getparent()
    while element.getprevious() is not None:
        del parent[0]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a group header says about every transaction below it; `where` names the message in errors."""

    kind: str
    where: str
    message_id: str
    num_payments: str
    total: str | None
    settlement_date: str | None
    instructing: Agent | None
    instructed: Agent | None


def _header(element: Any, kind: str, where: str) -> _Header:
    return _Header(
        kind=kind,
        where=where,
        message_id=_needed(element, where, "MsgId"),
        num_payments=_needed(element, where, "NbOfTxs"),
        total=_text(element, "TtlIntrBkSttlmAmt"),
        settlement_date=_text(element, "IntrBkSttlmDt"),
        instructing=_agent(element, where, "InstgAgt"),
        instructed=_agent(element, where, "InstdAgt"),
    )


def _payment(element: Any, header: _Header, number: int) -> Payment:
    where = f"transaction {number} of {header.where}"
    debtor, creditor = ("DbtrAgt", "CdtrAgt") if header.kind == "pacs.008" else ("Dbtr", "Cdtr")
    amount = _needed(element, where, "IntrBkSttlmAmt")
    day = _text(element, "IntrBkSttlmDt") or header.settlement_date
    if day is None:
        raise _missing("IntrBkSttlmDt", where)
    time = _text(element, "SttlmTmIndctn", "DbtDtTm") or _text(element, "SttlmTmIndctn", "CdtDtTm")
    settlement_date, settled_at = moment(day, time, where)
    return Payment(
        kind=header.kind,
        message_id=header.message_id,
        end_to_end_id=_needed(element, where, "PmtId", "EndToEndId"),
        uetr=_text(element, "PmtId", "UETR"),
        amount=clean_amount(amount, where),
        currency=clean_currency(_child(element, "IntrBkSttlmAmt").get("Ccy"), where),
        instructing=_agent(element, where, "InstgAgt") or header.instructing,
        instructed=_agent(element, where, "InstdAgt") or header.instructed,
        debtor=_agent(element, where, debtor),
        creditor=_agent(element, where, creditor),
        settlement_date=settlement_date,
        settled_at=settled_at,
    )


def _agent(element: Any, where: str, tag: str) -> Agent | None:
    """Return the institution under `tag`, or None if the element is absent or identifies nobody."""
    bank = _child(element, tag, "FinInstnId")
    if bank is None:
        return None
    member, system = _text(bank, "ClrSysMmbId", "MmbId"), _child(bank, "ClrSysMmbId", "ClrSysId")
    code = None if system is None else _text(system, "Cd") or _text(system, "Prtry")
    return clean_agent(
        bic=_text(bank, "BICFI") or _text(bank, "BIC"),
        lei=_text(bank, "LEI"),
        member_id=f"{code}/{member}" if member and code else member,
        where=f"{tag} of {where}",
    )


def _check_whole(header: _Header, num_payments: int, total: Decimal) -> None:
    """Refuse a message that lost or gained transactions on its way."""
    if header.num_payments != str(num_payments):
        remedy = f"Send the message again; it holds {num_payments}."
        raise MismatchError(field=f"NbOfTxs of {header.where}", value=header.num_payments, remedy=remedy)
    if header.total is not None and clean_amount(header.total, header.where) != total:
        remedy = f"Send the message again; its transactions sum to {total}."
        raise MismatchError(field=f"TtlIntrBkSttlmAmt of {header.where}", value=header.total, remedy=remedy)


def _needed(element: Any, where: str, *path: str) -> str:
    text = _text(element, *path)
    if text is None:
        raise _missing("/".join(path), where)
    return text


def _child(element: Any, *path: str) -> Any:
    """Return the element at the end of a path of local names in the element's own namespace, or None."""
    namespace = element.tag.rpartition("}")[0]
    for tag in path:
        if element is None:
            return None
        element = next(element.iterchildren(f"{namespace}}}{tag}"), None)
    return element


def _text(element: Any, *path: str) -> str | None:
    found = _child(element, *path)
    text = (found.text or "").strip() if found is not None else ""
    return text or None


def _missing(tag: str, where: str) -> BadInputError:
    return BadInputError(field=f"{tag} of {where}", value="missing", remedy="Give a complete message.")
