"""Messages: which part of a file is the message, what is compared as a number, and returns."""

from decimal import Decimal

import pytest
from tests.risk.network.messages import LEI, NAMESPACE, bank, customer, header, message, read

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network.payments import Agent, PaymentReturn

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
@pytest.mark.parametrize("part", ["transaction", "before", "header", "body", "body-first"])
def test_what_is_hidden_in_a_message_is_not_the_message(hidden, part):
    plain = message(customer(), customer(2, "7"))
    where, by = {
        "transaction": ("<Cdtr>", f"{hidden}<Cdtr>"),
        "before": ("<PmtId>", f"{hidden}<PmtId>"),
        "header": ("</GrpHdr>", f"{hidden}</GrpHdr>"),
        "body": ("</FIToFICstmrCdtTrf>", f"{hidden}</FIToFICstmrCdtTrf>"),
        "body-first": ("<GrpHdr>", f"{hidden}<GrpHdr>"),
    }[part]
    text = plain.replace(where, by, 1)
    assert "<SplmtryData>" in text or "<RmtInf>" in text
    assert read(text) == read(plain)


@pytest.mark.parametrize(
    "where",
    ["AppHdr", "AppHdr/Sgntr/Object", "SplmtryData", "Xtnsn/Envlp", "Extension", "a/b/Signature/Object"],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_document_hidden_in_the_envelope_is_not_the_message(where, first):
    tags = where.split("/")
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
        (("</Document>", "<FICdtTrf/></Document>"), "FIToFICstmrCdtTrf and FICdtTrf"),
        (("</Document>", "<o:Other xmlns:o='urn:o'/></Document>"), "FIToFICstmrCdtTrf and Other"),
        (("100.25", "100<x/>000"), "IntrBkSttlmAmt of transaction 1 of message: 'IntrBkSttlmAmt holds x'"),
        (("AAAAUS33XXX", "AAAAUS33<BICFI>EVILUS33</BICFI>"), "BICFI of transaction 1"),
        (("<MsgId>M1", "<MsgId>M1<x/>"), "MsgId of message"),
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


def test_a_file_with_two_business_headers_is_refused():
    head = f"<AppHdr xmlns='{NAMESPACE}head.001.001.02'/>"
    own = message(customer()).partition("?>")[2]
    assert len(read(f"<E>{head}{own}</E>")) == 1
    for text in (f"<E>{head}{head}{own}</E>", f"<E><A>{head}</A>{own}<B>{head}</B></E>"):
        with pytest.raises(
            BadInputError, match=r"more than one message: head.001.001.02 and head.001.001.02"
        ):
            read(text)


@pytest.mark.parametrize("tag", ["GrpHdr", "CdtTrfTxInf"])
@pytest.mark.parametrize("namespace", ["urn:evil", f"{NAMESPACE}pacs.008.001.10", ""])
def test_an_element_of_another_namespace_is_not_the_messages(tag, namespace):
    inner = header(9).replace("GrpHdr", "p:GrpHdr") if tag == "GrpHdr" else EVIL.replace(tag, f"p:{tag}")
    if namespace:
        alien = inner.replace(f"<p:{tag}", f"<p:{tag} xmlns:p='{namespace}'").replace("{lei}", LEI)
    else:
        alien = inner.replace("p:", "").replace(f"<{tag}", f"<{tag} xmlns=''").replace("{lei}", LEI)
    plain = message(customer(), customer(2, "7"))
    for place in ("<GrpHdr>", "<CdtTrfTxInf>", "</FIToFICstmrCdtTrf>"):
        assert read(plain.replace(place, alien + place, 1)) == read(plain)


@pytest.mark.parametrize("prefix", ["p", "Document", "_1"])
def test_a_prefix_makes_no_difference(prefix):
    plain = message(customer(), customer(2, "7"))
    text = plain.replace("<", f"<{prefix}:").replace(f"<{prefix}:/", f"</{prefix}:")
    text = text.replace(f"<{prefix}:?", "<?").replace("xmlns=", f"xmlns:{prefix}=")
    assert read(text) == read(plain)


@pytest.mark.parametrize("amount", ["100<!-- 9 -->.25", "<![CDATA[100.25]]>", "1<?x 9?>00.25", "&#49;00.25"])
def test_text_is_read_whole_around_comments(amount):
    assert read(message(customer(1, amount)))[0].amount == Decimal("100.25")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            message(customer(), kind="pacs.002.001.10"),
            [f"pacs.002.001.10 in namespace {NAMESPACE}pacs.002.001.10"],
        ),
        *(
            (message(customer(), kind=kind), [kind])
            for kind in ("camt.053.001.08", "camt.052.001.08", "camt.054.001.11", "camt.056.001.08")
        ),
        *(
            (message(customer(), kind=kind), [kind])
            for kind in ("pacs.003.001.08", "pacs.007.001.09", "pacs.010.001.03", "pacs.028.001.03")
        ),
        (f"<E>{message(customer(), kind='pain.013.001.07').partition('?>')[2]}</E>", ["pain.013.001.07"]),
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


def test_the_banks_of_a_return_come_from_the_transaction_or_the_header():
    def banks(payer, payee):
        parts = (("InstgAgt", payer), ("InstdAgt", payee))
        return "".join(f"<{tag}><FinInstnId><BICFI>{bic}</BICFI></FinInstnId></{tag}>" for tag, bic in parts)

    text = return_of(
        returned(more=banks("AAAAUS33", "BBBBUS33")), returned("b"), extra=banks("CCCCUS33", "DDDDUS33")
    )
    found = [(one.instructing.id, one.instructed.id) for one in read(text)]
    assert found == [("AAAAUS33", "BBBBUS33"), ("CCCCUS33", "DDDDUS33")]
