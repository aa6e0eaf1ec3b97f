"""Messages: what is read from honest ones, and what hostile ones are not allowed to do."""

import io
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network import iso20022_stream
from warmprompt.risk.network.iso20022 import read_payments
from warmprompt.risk.network.payments import Agent, PaymentReturn

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:"
LEI = "529900T8BM49AURSDO55"  # valid check digits

CUSTOMER = """\
<CdtTrfTxInf>
  <PmtId><EndToEndId>{number}</EndToEndId><UETR>uetr-{number}</UETR></PmtId>
  <IntrBkSttlmAmt Ccy="USD">{amount}</IntrBkSttlmAmt>
  <SttlmTmIndctn><DbtDtTm>2026-03-02T10:15:30-05:00</DbtDtTm></SttlmTmIndctn>
  <InstgAgt><FinInstnId><BICFI>AAAAUS33XXX</BICFI></FinInstnId></InstgAgt>
  <InstdAgt><FinInstnId><ClrSysMmbId><ClrSysId><Cd>USABA</Cd></ClrSysId><MmbId>021000021</MmbId></ClrSysMmbId>
  </FinInstnId></InstdAgt>
  <Dbtr><Nm>Somebody</Nm></Dbtr>
  <DbtrAgt><FinInstnId><LEI>{lei}</LEI></FinInstnId></DbtrAgt>
  <CdtrAgt><FinInstnId><BICFI>BBBBUS33</BICFI></FinInstnId></CdtrAgt>
  <Cdtr><Nm>Somebody else</Nm></Cdtr>
</CdtTrfTxInf>"""
BANK = """\
<CdtTrfTxInf>
  <PmtId><EndToEndId>{number}</EndToEndId></PmtId>
  <IntrBkSttlmAmt Ccy="EUR">{amount}</IntrBkSttlmAmt>
  <IntrBkSttlmDt>2026-03-03</IntrBkSttlmDt>
  <Dbtr><FinInstnId><BICFI>CCCCDEFF</BICFI></FinInstnId></Dbtr>
  <Cdtr><FinInstnId><BICFI>DDDDFRPPABC</BICFI></FinInstnId></Cdtr>
</CdtTrfTxInf>"""


def header(count, extra=""):
    return (
        f"<GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-03-02T15:00:00Z</CreDtTm><NbOfTxs>{count}</NbOfTxs>"
        f"<IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt>{extra}</GrpHdr>"
    )


def message(*transactions, kind="pacs.008.001.08", count=None, extra="", prolog="", lei=LEI):
    body = "FIToFICstmrCdtTrf" if kind.startswith("pacs.008") else "FICdtTrf"
    head = header(len(transactions) if count is None else count, extra)
    inner = "".join(text.replace("{lei}", lei) for text in transactions)
    document = f'<Document xmlns="{NAMESPACE}{kind}"><{body}>{head}{inner}</{body}></Document>'
    return f'<?xml version="1.0" encoding="UTF-8"?>{prolog}{document}'


def customer(number=1, amount="100.25"):
    return CUSTOMER.replace("{number}", str(number)).replace("{amount}", amount)


def bank(number=1, amount="7"):
    return BANK.format(number=number, amount=amount)


def read(text, **options):
    return list(read_payments(io.BytesIO(text.encode() if isinstance(text, str) else text), **options))


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
    held = []
    forget = iso20022_stream._forget

    def watched(element):
        forget(element)
        held.append(len(element.getparent()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iso20022_stream, "_forget", watched)
        assert len(read(body)) == 4000
    # The piece that is being parsed holds some that are not yet read.
    assert max(held) <= 2**16 / 600


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


# What is not the message itself.

EVIL = customer(9, "999999999.00").replace("AAAAUS33XXX", "EVILUS33").replace("BBBBUS33", "EVILGB22")


def whole(text=EVIL, count=2, kind="pacs.008.001.08"):
    """Return a whole document as an attacker would hide it, without its XML declaration."""
    return message(text, kind=kind, count=count).partition("?>")[2]


BODY = f"<FIToFICstmrCdtTrf>{header(2)}{EVIL.replace('{lei}', LEI)}</FIToFICstmrCdtTrf>"
HIDDEN = {
    "supplementary": f"<SplmtryData><Envlp>{BODY}</Envlp></SplmtryData>",
    "transaction": f"<SplmtryData><Envlp>{EVIL.replace('{lei}', LEI)}</Envlp></SplmtryData>",
    "header": f"<SplmtryData><Envlp>{header(7)}</Envlp></SplmtryData>",
    "document": f"<SplmtryData><Envlp>{whole()}</Envlp></SplmtryData>",
    "other-version": f"<SplmtryData><Envlp>{whole(kind='pacs.008.001.10')}</Envlp></SplmtryData>",
    "other-family": f"<SplmtryData><Envlp>{whole(bank(), kind='pacs.009.001.08')}</Envlp></SplmtryData>",
    "remittance": f"<RmtInf><Strd><AddtlRmtInf>{BODY}</AddtlRmtInf></Strd></RmtInf>",
    "deep": f"<SplmtryData><Envlp><a><Document><x>{BODY}</x></Document></a></Envlp></SplmtryData>",
    "agents": "<SplmtryData><Envlp><InstgAgt><FinInstnId><BICFI>EVILUS33</BICFI></FinInstnId></InstgAgt>"
    "<IntrBkSttlmAmt Ccy='USD'>9</IntrBkSttlmAmt></Envlp></SplmtryData>",
}


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("place", ["transaction", "before", "header", "body", "body-first"])
def test_what_is_hidden_in_a_message_is_not_the_message(hidden, place):
    plain = message(customer(), customer(2, "7"))
    where, by = {
        "transaction": ("<Cdtr>", f"{hidden}<Cdtr>"),
        "before": ("<PmtId>", f"{hidden}<PmtId>"),
        "header": ("</GrpHdr>", f"{hidden}</GrpHdr>"),
        "body": ("</FIToFICstmrCdtTrf>", f"{hidden}</FIToFICstmrCdtTrf>"),
        "body-first": ("<GrpHdr>", f"{hidden}<GrpHdr>"),
    }[place]
    text = plain.replace(where, by, 1)
    assert "<SplmtryData>" in text or "<RmtInf>" in text
    assert read(text) == read(plain)


@pytest.mark.parametrize("place", ["AppHdr", "AppHdr/Sgntr/Object", "SplmtryData"])
@pytest.mark.parametrize("first", [True, False])
def test_a_document_hidden_in_the_envelope_is_not_the_message(place, first):
    tags = place.split("/")
    evil = "".join(f"<{tag}>" for tag in tags) + whole(count=1) + "".join(f"</{tag}>" for tag in tags[::-1])
    own = message(customer()).partition("?>")[2]
    envelope = f"<Incoming xmlns='urn:any'>{evil if first else own}{own if first else evil}</Incoming>"
    assert read(envelope) == read(message(customer()))


@pytest.mark.parametrize(
    "envelope",
    ["<E>{0}{1}</E>", "<E><A>{0}</A><B><C>{1}</C></B></E>", "<E><Attachment>{1}</Attachment>{0}</E>"],
)
def test_a_file_with_two_messages_is_refused(envelope):
    text = envelope.format(whole(customer(), 1), whole(bank(), 1, kind="pacs.009.001.10"))
    with pytest.raises(
        BadInputError, match=r"more than one message: pacs.00[89].* and pacs.00[89]"
    ) as caught:
        read(text)
    assert {"pacs.008.001.08", "pacs.009.001.10"} <= set(str(caught.value.value).split())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("</Document>", f"{BODY}</Document>"), "FIToFICstmrCdtTrf before FIToFICstmrCdtTrf"),
        (("<FIToFICstmrCdtTrf>", "<Other/><FIToFICstmrCdtTrf>"), "Other before FIToFICstmrCdtTrf"),
        (("</GrpHdr>", f"</GrpHdr>{header(9)}"), "GrpHdr of message: 'there twice'"),
        (
            ("<PmtId>", "<IntrBkSttlmAmt Ccy='USD'>9</IntrBkSttlmAmt><PmtId>"),
            "IntrBkSttlmAmt of transaction 1",
        ),
        (("<InstgAgt>", "<InstgAgt/><InstgAgt>"), "InstgAgt of transaction 1 of message: 'there twice'"),
        (("<NbOfTxs>", "<NbOfTxs>2</NbOfTxs><NbOfTxs>"), "NbOfTxs of message: 'there twice'"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(change, error):
    with pytest.raises(BadInputError, match=error):
        read(message(customer()).replace(*change, 1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            message(customer(), kind="pacs.002.001.10"),
            [f"pacs.002.001.10 in namespace {NAMESPACE}pacs.002.001.10"],
        ),
        (message(customer(), kind="camt.053.001.08"), ["camt.053.001.08"]),
        (message(customer(), kind="pacs.003.001.08"), ["pacs.003.001.08"]),
        (
            message(customer()).replace(
                f"{NAMESPACE}pacs.008.001.08", "https://www.bcb.gov.br/pi/pacs.008/1.3"
            ),
            ["pacs.008 of another standard", "https://www.bcb.gov.br/pi/pacs.008/1.3"],
        ),
        (message(customer()).replace(NAMESPACE, "urn:swift:xsd:$"), ["pacs.008.001.08 of another standard"]),
        (message(customer()).replace(f' xmlns="{NAMESPACE}pacs.008.001.08"', ""), ["without a namespace"]),
        (f"<E xmlns='urn:e'>{whole(kind='pain.001.001.09')}</E>", ["pain.001.001.09"]),
        (
            BODY.replace("Trf>", f"Trf xmlns='{NAMESPACE}pacs.008.001.08'>", 1),
            ["<FIToFICstmrCdtTrf> without a Document"],
        ),
        ("<html><body/></html>", ["<html> without a Document"]),
    ],
)
def test_a_refusal_names_the_message_found_and_what_is_read(text, found):
    with pytest.raises(BadInputError) as caught:
        read(text)
    for words in found:
        assert words in str(caught.value.value)
    assert "Read are pacs.008, pacs.009 and pacs.004 of any version" in caught.value.remedy


@pytest.mark.parametrize("between", ["", "\n", "<!-- -->"])
def test_two_root_elements_are_refused_by_their_names(between):
    head = f"<h:AppHdr xmlns:h='{NAMESPACE}head.001.001.02'><h:Fr/></h:AppHdr>"
    with pytest.raises(
        BadInputError, match=r"more than one root element \(head.001.001.02, then pacs.008.001.08\)"
    ):
        read(head + between + message(customer()).partition("?>")[2])


# Numbers are numbers.


@pytest.mark.parametrize("count", ["1", "01", "00001", " 1 ", "000000000000001"])
def test_the_number_of_transactions_is_compared_as_a_number(count):
    assert len(read(message(customer(), count=count))) == 1


@pytest.mark.parametrize("count", ["0", "2", "1.0", "+1", "-1", "one", "0x1", "\u0661", "0000000000000001"])
def test_another_number_of_transactions_is_refused(count):
    with pytest.raises(MismatchError, match="NbOfTxs"):
        read(message(customer(), count=count))


@pytest.mark.parametrize("amount", ["00100.25", "+100.25", "100.2500000", "0" * 30 + "100.25"])
def test_an_amount_may_have_zeros_around_it(amount):
    assert read(message(customer(1, amount)))[0].amount_minor == 10025


@pytest.mark.parametrize("amount", [".5", "7.", "+.50"])
def test_a_decimal_may_lack_one_side(amount):
    assert read(message(customer(1, amount)))[0].amount == Decimal(amount)


@pytest.mark.parametrize("total", ["100.25", "0100.2500", "+100.25"])
@pytest.mark.parametrize("tag", ["TtlIntrBkSttlmAmt", "CtrlSum"])
def test_sums_are_compared_as_numbers(tag, total):
    assert len(read(message(customer(), extra=f"<{tag} Ccy='USD'>{total}</{tag}>"))) == 1


def test_a_control_sum_may_be_of_what_was_instructed():
    instructed = customer().replace("<Dbtr>", "<InstdAmt Ccy='EUR'>90</InstdAmt><Dbtr>")
    assert len(read(message(instructed, customer(2), extra="<CtrlSum>190.25</CtrlSum>"))) == 2
    assert len(read(message(instructed, customer(2), extra="<CtrlSum>200.5</CtrlSum>"))) == 2


@pytest.mark.parametrize("total", ["100.24", "1e2", "x", "-100.25", "."])
def test_another_control_sum_is_refused(total):
    with pytest.raises(MismatchError, match=r"CtrlSum of message"):
        read(message(customer(), extra=f"<CtrlSum>{total}</CtrlSum>"))


# Banks without a BIC.


@pytest.mark.parametrize(
    ("bank_id", "expected"),
    [
        ("<Othr><Id>payer-dfsp</Id></Othr>", Agent(member_id="payer-dfsp")),
        ("<Othr><Id>1</Id><SchmeNm><Cd>BANK</Cd></SchmeNm></Othr>", Agent(member_id="BANK/1")),
        ("<Othr><Id>1</Id><SchmeNm><Prtry>Mojaloop</Prtry></SchmeNm></Othr>", Agent(member_id="Mojaloop/1")),
        ("<BICFI>AAAAUS33</BICFI><Othr><Id>1</Id></Othr>", Agent(bic="AAAAUS33")),
        (f"<LEI>{LEI}</LEI><Othr><Id>1</Id></Othr>", Agent(lei=LEI)),
        ("<ClrSysMmbId><MmbId>7</MmbId></ClrSysMmbId><Othr><Id>1</Id></Othr>", Agent(member_id="7")),
        ("<Nm>A bank</Nm><Othr><Id> </Id></Othr>", None),
    ],
)
def test_another_id_names_a_bank_that_has_none_of_the_usual_ones(bank_id, expected):
    text = customer().replace("<BICFI>AAAAUS33XXX</BICFI>", bank_id)
    assert read(message(text))[0].instructing == expected


# Returns.


def returned(uetr="uetr-1", amount="100.25", more="", currency="USD"):
    name = f"<OrgnlUETR>{uetr}</OrgnlUETR>" if uetr else ""
    amount = f'<RtrdIntrBkSttlmAmt Ccy="{currency}">{amount}</RtrdIntrBkSttlmAmt>'
    return f"<TxInf>{more}{name}{amount}</TxInf>"


def return_of(*transactions, extra="", count=None, version="10"):
    head = header(len(transactions) if count is None else count, extra)
    body = f"<PmtRtr>{head}{''.join(transactions)}</PmtRtr>"
    return f'<Document xmlns="{NAMESPACE}pacs.004.001.{version}">{body}</Document>'


def test_a_return_is_read_with_what_it_returns():
    more = "<OrgnlGrpInf><OrgnlMsgId>M0</OrgnlMsgId></OrgnlGrpInf><OrgnlEndToEndId>E1</OrgnlEndToEndId>"
    (found,) = read(return_of(returned(more=more)))
    assert found == PaymentReturn(
        namespace=f"{NAMESPACE}pacs.004.001.10",
        message_id="M1",
        original_uetr="uetr-1",
        original_message_id="M0",
        original_end_to_end_id="E1",
        amount=Decimal("100.25"),
        currency="USD",
    )


@pytest.mark.parametrize("version", ["02", "09", "13"])
def test_returns_are_read_in_every_version(version):
    assert len(read(return_of(returned(), returned("b"), version=version))) == 2


@pytest.mark.parametrize(
    ("text", "kind", "error"),
    [
        (
            return_of(
                returned(""),
            ),
            BadInputError,
            "OrgnlUETR, or OrgnlEndToEndId, of transaction 1",
        ),
        (return_of(returned(amount="0")), BadInputError, "amount of transaction 1"),
        (return_of(returned(currency="")), BadInputError, "Ccy of transaction 1"),
        (return_of(returned(), count=2), MismatchError, "NbOfTxs"),
        (return_of(returned(), extra="<GrpRtr>true</GrpRtr>"), BadInputError, "a return of a whole group"),
        (return_of(), BadInputError, "no credit transfer"),
        (
            return_of(returned(), extra='<TtlRtrdIntrBkSttlmAmt Ccy="USD">1</TtlRtrdIntrBkSttlmAmt>'),
            MismatchError,
            "TtlRtrdIntrBkSttlmAmt",
        ),
    ],
)
def test_a_return_that_cannot_be_is_refused(text, kind, error):
    with pytest.raises(kind, match=error):
        read(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="Name a file that exists"):
        list(read_payments(tmp_path / "none.xml"))
