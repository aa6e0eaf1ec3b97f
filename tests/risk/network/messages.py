"""ISO 20022 messages as tests write them."""

import io

from warmprompt.risk.network.iso20022 import read_payments

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
