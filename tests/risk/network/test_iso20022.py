"""Messages: what is read from honest ones, and what hostile ones are not allowed to do."""

import io
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from tests.risk.network.messages import LEI, NAMESPACE, bank, customer, header, message, read

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network import iso20022_stream
from warmprompt.risk.network.iso20022 import read_payments
from warmprompt.risk.network.payments import Agent


@pytest.mark.parametrize("version", ["02", "08", "10", "12"])
def test_a_customer_transfer_is_read_in_every_version(version):
    (payment,) = read(message(customer(), kind=f"pacs.008.001.{version}"))
    assert payment.kind == "pacs.008"
    assert (payment.message_id, payment.end_to_end_id, payment.uetr) == ("M1", "1", "uetr-1")
    assert payment.amount == Decimal("100.25")
    assert (payment.amount_minor, payment.currency) == (10025, "USD")
    assert payment.instructing == Agent(bic="AAAAUS33")
    assert payment.instructed == Agent(member_id="USABA/021000021")
    assert payment.debtor == Agent(lei=LEI)
    assert payment.creditor == Agent(bic="BBBBUS33")
    assert payment.settlement_date == date(2026, 3, 2)
    assert payment.settled_at == datetime(2026, 3, 2, 15, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize("version", ["08", "10"])
def test_a_bank_transfer_takes_its_parties_and_day_from_itself_and_the_rest_from_the_header(version):
    agents = (
        "<InstgAgt><FinInstnId><BICFI>EEEEDEFF</BICFI></FinInstnId></InstgAgt>"
        "<InstdAgt><FinInstnId><BICFI>FFFFDEFF</BICFI></FinInstnId></InstdAgt>"
    )
    (payment,) = read(message(bank(), kind=f"pacs.009.001.{version}", extra=agents))
    assert payment.kind == "pacs.009"
    assert (payment.debtor, payment.creditor) == (Agent(bic="CCCCDEFF"), Agent(bic="DDDDFRPPABC"))
    assert (payment.instructing, payment.instructed) == (Agent(bic="EEEEDEFF"), Agent(bic="FFFFDEFF"))
    assert payment.settlement_date == date(2026, 3, 3)
    assert payment.settled_at is None


def test_an_institution_with_a_name_alone_identifies_nobody():
    (payment,) = read(message(customer().replace("<BICFI>BBBBUS33</BICFI>", "<Nm>A bank</Nm>")))
    assert payment.creditor is None


def test_the_old_name_of_a_bic_is_read():
    text = message(bank().replace("BICFI", "BIC"), kind="pacs.009.001.02")
    assert read(text)[0].debtor == Agent(bic="CCCCDEFF")


def test_a_message_inside_an_envelope_with_prefixes_is_read():
    inner = message(customer()).partition("?>")[2]
    inner = inner.replace("<", "<p:").replace("<p:/", "</p:").replace("xmlns=", "xmlns:p=")
    envelope = f'<Incoming xmlns="urn:any:system"><AppHdr><Fr>X</Fr></AppHdr>{inner}</Incoming>'
    assert [payment.amount for payment in read(envelope)] == [Decimal("100.25")]


def test_amounts_are_exact_where_a_float_is_not():
    # 0.1 + 0.2 is not 0.3 in floats, and 2^53 cents + 1 is no float.
    text = message(customer(1, "0.1"), customer(2, "0.2"), customer(3, "90071992547409.93"))
    assert sum(payment.amount_minor for payment in read(text)) == 30 + 2**53 + 1


def test_a_file_is_read_while_it_is_parsed(tmp_path):
    path = tmp_path / "message.xml"
    path.write_text(message(*(customer(number) for number in range(500))))
    payments = read_payments(path)
    assert next(payments).end_to_end_id == "0"
    assert [payment.end_to_end_id for payment in payments] == [str(number) for number in range(1, 500)]


# What is hostile.

BOMB = (
    '<!DOCTYPE D [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {name} "{f"&{inner};" * 10}">'
        for inner, name in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>"
)
EXTERNAL = '<!DOCTYPE D [<!ENTITY x SYSTEM "{uri}">]>'


def test_an_entity_bomb_is_refused_before_it_is_declared():
    # A thousand million letters if expanded.
    text = message(customer().replace("Somebody else", "&j;"), prolog=BOMB)
    tracemalloc.start()
    with pytest.raises(BadInputError, match="document type"):
        read(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_an_external_entity_is_refused_and_never_opened(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("AAAAUS33")
    for uri in (secret.as_uri(), "http://127.0.0.1:9/x"):
        text = message(customer().replace("AAAAUS33XXX", "&x;"), prolog=EXTERNAL.replace("{uri}", uri))
        with pytest.raises(BadInputError, match="document type"):
            read(text)


def test_a_document_type_across_two_pieces_is_found():
    for shift in range(12):
        filler = "<!--" + "x" * (2**16 - 60 + shift) + "-->"
        text = message(customer(), prolog=filler + BOMB)
        with pytest.raises(BadInputError, match="document type"):
            read(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_an_encoding_that_would_hide_a_document_type_is_refused(encoding):
    text = message(customer(), prolog=BOMB).replace("UTF-8", encoding.upper()[:6])
    with pytest.raises(BadInputError, match="UTF-8"):
        read(text.encode(encoding))


def test_an_encoding_that_the_message_only_claims_is_not_believed():
    # In UTF-7 "+ADw-" is "<"; read as the UTF-8 that it must be, it is text.
    text = message(customer()).replace("UTF-8", "UTF-7").replace("Somebody else", "+ADw-x+AD4-")
    assert read(text)[0].amount == Decimal("100.25")


class Endless(io.RawIOBase):
    """A stream of one gigabyte that is never in memory: a head, then one pattern again and again."""

    def __init__(self, head, pattern):
        self.head, self.pattern, self.given = head, pattern, 0

    def read(self, size=-1):
        if self.given >= 2**30:
            return b""
        piece = self.head or (self.pattern * (size // len(self.pattern) + 1))[:size]
        self.head = b""
        self.given += len(piece)
        return piece


OPEN = f'<Document xmlns="{NAMESPACE}pacs.008.001.08"><FIToFICstmrCdtTrf>{header(1)}'


@pytest.mark.parametrize(
    ("head", "pattern"),
    [
        (OPEN + "<CdtTrfTxInf>", b"<a>"),
        (OPEN + "<CdtTrfTxInf>", b"<a/>"),
        (OPEN + "<CdtTrfTxInf><Nm>", b"text "),
        (OPEN, b"<Junk><b/></Junk>"),
        ("<Document>", b"<GrpHdr><x/></GrpHdr>"),
        ("", b" "),
        ("<a ", b"b='c' "),
        (OPEN, customer().replace("{lei}", LEI).encode()),
    ],
    ids=["deep", "wide", "text", "junk", "headers", "blank", "attributes", "transactions"],
)
def test_a_gigabyte_is_refused_in_bounded_memory(head, pattern):
    stream = Endless(head.encode(), pattern)
    with pytest.raises(BadInputError):
        for _ in read_payments(stream, max_bytes=4 * 2**20):
            pass
    assert stream.given <= 4 * 2**20 + 2**16


def test_a_file_of_a_gigabyte_is_refused_by_its_size(tmp_path):
    path = tmp_path / "sparse.xml"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(BadInputError, match=r"size of .*1073741824"):
        list(read_payments(path))


def test_what_was_read_is_let_go():
    # 4,000 transactions of about 900 bytes: a tree of them all would hold some 20,000 elements more.
    transactions = "".join(customer(number).replace("{lei}", LEI) for number in range(4000))
    body = f"{OPEN.replace('<NbOfTxs>1<', '<NbOfTxs>4000<')}{transactions}</FIToFICstmrCdtTrf></Document>"
    num_children = []
    forget = iso20022_stream._forget

    def watched(element):
        forget(element)
        num_children.append(len(element.getparent()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iso20022_stream, "_forget", watched)
        assert len(read(body)) == 4000
    # The piece that is being parsed holds some that are not yet read.
    assert max(num_children) <= 2**16 / 600


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "empty"),
        (b"   ", "XML of message"),
        (b"not xml", "XML of message"),
        (message(customer())[:-20], "XML of message"),
        (message(customer()).replace("</CdtTrfTxInf>", ""), "XML of message"),
        (message(customer()).encode().replace(b"Somebody", b"\xff\xfe"), "XML of message"),
        (message(customer().replace("Somebody", "&unknown;")), "XML of message"),
        (message(customer(), kind="pacs.002.001.10"), "no credit transfer"),
        (message(customer()).replace(NAMESPACE, "urn:other:"), "no credit transfer"),
        (message(), "no credit transfer"),
        (message(customer()).replace("GrpHdr", "Other"), "GrpHdr before the transactions"),
        (message(customer()).replace("<MsgId>M1</MsgId>", ""), "MsgId of message: 'missing'"),
        (message(customer().replace("<EndToEndId>1</EndToEndId>", "")), "PmtId/EndToEndId of transaction 1"),
        (message(customer(), customer(2).replace("IntrBkSttlmAmt", "Amt")), "transaction 2"),
        (message(customer()).replace("<IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt>", ""), "IntrBkSttlmDt"),
        (message(customer()).replace("2026-03-02<", "2026-02-30<"), "ISO 8601"),
        (message(customer()).replace("T10:15", "T99:15"), "ISO 8601"),
        (message(customer()).replace(' Ccy="USD"', ""), "three capital letters"),
        (message(customer()).replace("USD", "usd"), "three capital letters"),
        (message(customer()).replace("AAAAUS33XXX", "AAAA"), "BIC of InstgAgt"),
        (message(customer(), lei=LEI[:-1] + "6"), "LEI of DbtrAgt"),
        (message(customer()).replace("021000021", "0" * 99), "MmbId of InstdAgt"),
    ],
)
def test_a_malformed_message_is_one_clear_error(text, error):
    with pytest.raises(BadInputError, match=error):
        read(text)


@pytest.mark.parametrize(
    "amount", ["-1", "0", "0.00", "NaN", "Infinity", "1e5", "1,5", "", ".", "1.123456", "1" * 19, "१"]
)
def test_an_amount_that_the_standard_does_not_allow_is_refused(amount):
    with pytest.raises(BadInputError, match=r"transaction 1 of message"):
        read(message(customer(1, amount)))


def test_a_message_that_lost_a_transaction_is_refused():
    with pytest.raises(MismatchError, match="NbOfTxs"):
        read(message(customer(), count=2))
    total = '<TtlIntrBkSttlmAmt Ccy="USD">100.26</TtlIntrBkSttlmAmt>'
    with pytest.raises(MismatchError, match=r"sum to 100\.25"):
        read(message(customer(), extra=total))
    assert len(read(message(customer(), extra=total.replace("26", "25")))) == 1


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="Name a file that exists"):
        list(read_payments(tmp_path / "none.xml"))
