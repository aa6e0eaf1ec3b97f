"""Where the business message is in an XML stream: its document, that document's body, and their parts.

    [envelope ...] Document  (namespace of a message)
                     body    FIToFICstmrCdtTrf, FICdtTrf or PmtRtr
                       GrpHdr, CdtTrfTxInf ... or TxInf ...

Nothing else is ever taken for a message or a part of one, whatever it is called: what hides in supplementary
data, remittance information, a signature, an extension, a business header or a document inside a document is
passed over. A second document, body or business header is refused, as is any message that is not read here;
the refusal names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from lxml import etree

from warmprompt.errors import BadInputError

DEFAULT_MAX_BYTES = 64 * 2**20
MAX_TRANSACTION_BYTES = 2**20
_PIECE_BYTES = 2**16
_STANDARD = "urn:iso:std:iso:20022:tech:xsd:"
_NAMESPACE = re.compile(rf"{_STANDARD}(pacs\.00[489])\.001\.[0-9]{{2}}")
_FAMILY = re.compile(r"[a-z]{4}\.\d{3}(?:\.\d{3}\.\d{2})?")
_NAMED = re.compile(rf"{_STANDARD}([a-z]{{4}}\.\d{{3}}\.\d{{3}}\.\d{{2}})".encode())
_BODIES = {
    "pacs.004": ("PmtRtr", "TxInf"),
    "pacs.008": ("FIToFICstmrCdtTrf", "CdtTrfTxInf"),
    "pacs.009": ("FICdtTrf", "CdtTrfTxInf"),
}
# Where an envelope ends: neither a message's own element nor what extends or signs it holds the message.
_EXTENSIONS = {"SplmtryData", "Xtnsn", "Extension", "Sgntr", "Signature"}
_CLOSED = {"AppHdr", "Document", *_EXTENSIONS, *(body for body, _ in _BODIES.values())}
_WATCHED = ("{*}AppHdr", "{*}Document", "{*}GrpHdr", "{*}CdtTrfTxInf", "{*}TxInf")
_DOCTYPE = b"<!DOCTYPE"
_MOST_NAMED = 4
_TAIL_BYTES = 64
_READ = f"Read are pacs.008, pacs.009 and pacs.004 of any version, namespace {_STANDARD}pacs.008.001.NN."


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A part of the business message: its header or one transaction; gone when the next one is asked for.

    Attributes:
        family: Such as "pacs.008".
        element: The part.
    """

    family: str
    element: Any


def check_size(num_bytes: int, max_bytes: int, name: str) -> None:
    """Refuse a message that is too large."""
    if num_bytes > max_bytes:
        remedy = f"Give a message of at most {max_bytes} bytes, or raise the limit."
        raise BadInputError(field=f"size of {name}", value=num_bytes, remedy=remedy)


def pieces(stream: BinaryIO, max_bytes: int, name: str) -> Iterator[bytes]:
    """Yield a stream in pieces after refusing what no message may hold: too much, a document type, NUL."""
    seen, tail = 0, b""
    while piece := stream.read(_PIECE_BYTES):
        seen += len(piece)
        check_size(seen, max_bytes, name)
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


def body_parts(stream: Iterator[bytes], name: str) -> Iterator[Body]:
    """Yield the header and the transactions of the one business message in a stream.

    Raises:
        BadInputError: No XML, another message or none, more than one, or a part that is too large.
    """
    parser = etree.XMLPullParser(
        events=("start", "end"),
        tag=_WATCHED,
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    seen: dict[str, Any] = {}
    root, num_bytes = None, 0
    for event, found in _events(parser, stream, name):
        document = seen.get("Document")
        if event == "piece":
            num_bytes += found
            _check_size(num_bytes, name)
        elif event == "root":
            root = found
        elif event == "start":
            _notice(found, seen, name)
        elif found is document:
            _check_alone(found, name)
        elif document is not None and _is_part(found, document, name):
            yield Body(family=_family(document, name), element=found)
            if etree.QName(found).localname != "GrpHdr":
                _forget(found)
                num_bytes = 0
    if "Document" not in seen:
        raise _unread(f"<{etree.QName(root).localname}> without a Document", root, name)


def _events(parser: Any, stream: Iterator[bytes], name: str) -> Iterator[tuple[str, Any]]:
    """Yield the size of each piece before it is parsed, then the watched elements that it began or ended."""
    tail, named = b"", dict[bytes, None]()
    try:
        for piece in stream:
            yield "piece", len(piece)
            named |= dict.fromkeys(_NAMED.findall(tail + piece)[:_MOST_NAMED])
            tail = piece[-_TAIL_BYTES:]
            parser.feed(piece)
            yield from parser.read_events()
        yield "root", parser.close()
    except etree.XMLSyntaxError as error:
        raise _no_xml(str(error.msg), [one.decode() for one in named], name) from error


def _no_xml(message: str, named: Sequence[str], name: str) -> BadInputError:
    if "Extra content" not in message:
        return BadInputError(field=f"XML of {name}", value=message, remedy="Give well-formed XML.")
    found = f" ({', then '.join(named[:_MOST_NAMED])})" if named else ""
    remedy = f"Put the header and the document into one envelope element. {_READ}"
    return BadInputError(field=f"XML of {name}", value=f"more than one root element{found}", remedy=remedy)


def _is_open(parent: Any) -> bool:
    """Tell whether an element below `parent` and its ancestors is in nothing but an envelope."""
    while parent is not None:
        if etree.QName(parent).localname in _CLOSED:
            return False
        parent = parent.getparent()
    return True


def _notice(element: Any, seen: dict[str, Any], name: str) -> None:
    """Add the message's own document or business header to `seen`; refuse a second, and what is not read."""
    tag = etree.QName(element).localname
    if tag not in ("AppHdr", "Document") or not _is_open(element.getparent()):
        return
    if tag in seen:
        both = " and ".join(_called(one) for one in (seen[tag], element))
        remedy = "Give each message in a file of its own, with one business header at most."
        raise BadInputError(field=name, value=f"more than one message: {both}", remedy=remedy)
    if tag == "Document":
        _family(element, name)
    seen[tag] = element


def _check_alone(document: Any, name: str) -> None:
    """Refuse a document with anything besides one body."""
    if len(document) > 1:
        value = " and ".join(etree.QName(child).localname for child in document[:2])
        remedy = "Give a document of one message body alone."
        raise BadInputError(field=f"Document of {name}", value=value, remedy=remedy)


def _family(document: Any, name: str) -> str:
    found = _NAMESPACE.fullmatch(etree.QName(document).namespace or "")
    if found is None:
        raise _unread(_called(document), document, name)
    return found[1]


def _called(element: Any) -> str:
    """Return what a message is called by its namespace: family and version, or the family at least."""
    namespace = etree.QName(element).namespace or ""
    if namespace.startswith(_STANDARD):
        return namespace.removeprefix(_STANDARD)
    family = _FAMILY.search(namespace)
    return f"{family[0]} of another standard" if family else f"<{etree.QName(element).localname}>"


def _unread(called: str, element: Any, name: str) -> BadInputError:
    namespace = etree.QName(element).namespace
    where = f"in namespace {namespace}" if namespace else "without a namespace"
    return BadInputError(
        field=name, value=f"no credit transfer, but {called} {where}", remedy=f"Leave it out. {_READ}"
    )


def _is_part(element: Any, document: Any, name: str) -> bool:
    """Tell whether an element is the header or a transaction of the message itself."""
    tag, body = etree.QName(element), element.getparent()
    if body is None or body.getparent() is not document:
        return False
    family = _family(document, name)
    wanted, transaction = _BODIES[family]
    of_message = {tag.namespace, etree.QName(body).namespace} == {etree.QName(document).namespace}
    if (
        not of_message
        or etree.QName(body).localname != wanted
        or tag.localname not in ("GrpHdr", transaction)
    ):
        return False
    if body is not document[0]:
        value = f"{etree.QName(document[0]).localname} before {wanted}"
        raise BadInputError(
            field=f"Document of {name}", value=value, remedy=f"Give a document of one {wanted} alone."
        )
    return True


def _check_size(num_bytes: int, name: str) -> None:
    """Refuse to collect more than one transaction may have: `num_bytes` came since the last one ended."""
    if num_bytes > MAX_TRANSACTION_BYTES + _PIECE_BYTES:
        remedy = f"Give transactions of at most {MAX_TRANSACTION_BYTES} bytes each."
        raise BadInputError(field=f"one transaction of {name}", value=num_bytes, remedy=remedy)


def _forget(element: Any) -> None:
    """Drop an element's content and everything before it, so that the tree does not grow."""
    element.clear()
    parent = element.getparent()
    while element.getprevious() is not None:
        del parent[0]
