"""Time the reading of 10,000 single-payment messages, one file each, into a network.

    python benchmarks/messages.py [--out docs/results/messages.md]

Each file is a pacs.008 in an envelope with a business header, about 2 kB, between 200 banks; made up. The
reference reads the same files and parses each into a tree with lxml, without looking at it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commits import commit
from lxml import etree

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.rng import derive

NUM_MESSAGES, NUM_BANKS = 10_000, 200
MEASURED = ("src/warmprompt/risk/network", "src/warmprompt/cli", "benchmarks/messages.py")
_STANDARD = "urn:iso:std:iso:20022:tech:xsd:"
_AGENT = (
    "<FinInstnId><ClrSysMmbId><ClrSysId><Cd>USABA</Cd></ClrSysId><MmbId>{}</MmbId></ClrSysMmbId>"
    "<Nm>A bank of the example</Nm><PstlAdr><StrtNm>Main Street</StrtNm><BldgNb>1</BldgNb>"
    "<PstCd>10001</PstCd><TwnNm>New York</TwnNm><CtrySubDvsn>NY</CtrySubDvsn><Ctry>US</Ctry></PstlAdr>"
    "</FinInstnId>"
)


def main() -> None:
    """Write the messages, read them, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/messages.md"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "messages"
        folder.mkdir()
        write_messages(folder, chosen.seed)
        num_bytes = sum(file.stat().st_size for file in folder.iterdir())
        reference_s = parsed_s(folder)
        network_s = command_s(["risk", "network", str(folder), "--json"])
        day_s = command_s(["risk", "simulate", "--payments", str(folder), "--liquidity", "0.5", "--json"])
    write_atomic(chosen.out, report(reference_s, network_s, day_s, num_bytes, chosen.seed).encode())
    print(f"reference {reference_s:.1f} s, network {network_s:.1f} s, simulate {day_s:.1f} s")


def write_messages(folder: Path, seed: int) -> None:
    """Write one file per payment."""
    rng = derive(seed, "benchmark", "messages")
    payers = rng.integers(NUM_BANKS, size=NUM_MESSAGES)
    payees = (payers + rng.integers(1, NUM_BANKS, size=NUM_MESSAGES)) % NUM_BANKS
    cents = rng.lognormal(12, 2, NUM_MESSAGES).astype(int) + 1
    seconds = rng.integers(9 * 3600, 18 * 3600, size=NUM_MESSAGES)
    columns = zip(payers.tolist(), payees.tolist(), cents.tolist(), seconds.tolist(), strict=True)
    for number, (payer, payee, amount, second) in enumerate(columns):
        text = message(number, f"{21_000_000 + payer:09d}", f"{21_000_000 + payee:09d}", amount, second)
        (folder / f"{number:05d}.xml").write_text(text)


def message(number: int, payer: str, payee: str, cents: int, second: int) -> str:
    """Return a pacs.008 of one payment in an envelope."""
    moment = f"2026-03-02T{second // 3600:02d}:{second % 3600 // 60:02d}:{second % 60:02d}-05:00"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Envelope xmlns="urn:example:envelope">\n'
        f'<AppHdr xmlns="{_STANDARD}head.001.001.03"><BizMsgIdr>M{number}</BizMsgIdr>'
        f"<MsgDefIdr>pacs.008.001.08</MsgDefIdr><CreDt>{moment}</CreDt></AppHdr>\n"
        f'<Document xmlns="{_STANDARD}pacs.008.001.08"><FIToFICstmrCdtTrf>\n'
        f"<GrpHdr><MsgId>M{number}</MsgId><CreDtTm>{moment}</CreDtTm><NbOfTxs>1</NbOfTxs>"
        "<SttlmInf><SttlmMtd>CLRG</SttlmMtd><ClrSys><Cd>FDW</Cd></ClrSys></SttlmInf></GrpHdr>\n"
        f"<CdtTrfTxInf><PmtId><InstrId>I{number}</InstrId><EndToEndId>E{number}</EndToEndId>"
        f"<UETR>8a562c67-ca16-48ba-b074-{number:012d}</UETR></PmtId>\n"
        f'<IntrBkSttlmAmt Ccy="USD">{cents // 100}.{cents % 100:02d}</IntrBkSttlmAmt>'
        "<IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt><ChrgBr>SLEV</ChrgBr>\n"
        f"<InstgAgt>{_AGENT.format(payer)}</InstgAgt><InstdAgt>{_AGENT.format(payee)}</InstdAgt>\n"
        f"<Dbtr><Nm>Somebody</Nm></Dbtr><DbtrAgt>{_AGENT.format(payer)}</DbtrAgt>\n"
        f"<CdtrAgt>{_AGENT.format(payee)}</CdtrAgt><Cdtr><Nm>Somebody else</Nm></Cdtr>\n"
        "<RmtInf><Ustrd>Invoice of the example</Ustrd></RmtInf></CdtTrfTxInf>\n"
        "</FIToFICstmrCdtTrf></Document>\n</Envelope>\n"
    )


def parsed_s(folder: Path) -> float:
    """Return the processor time of parsing every file into a tree."""
    start = time.process_time()
    for file in sorted(folder.iterdir()):
        etree.fromstring(file.read_bytes())
    return time.process_time() - start


def command_s(arguments: list[str]) -> float:
    """Return the processor time of one command in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "warmprompt", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(reference_s: float, network_s: float, day_s: float, num_bytes: int, seed: int) -> str:
    """Return the page."""
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    rows = {
        "reference: parse every file into a tree (lxml)": reference_s,
        "`risk network FOLDER`, from start to figures": network_s,
        "`risk simulate --payments FOLDER`, from start to figures": day_s,
    }
    lines = [
        "# Reading messages: time",
        "",
        f"How long does a folder of {NUM_MESSAGES:,} messages with one payment each take? Processor time, a",
        "process per row, imports included. Every message is checked against its header.",
        "",
        f"Messages: pacs.008 in an envelope, {num_bytes / NUM_MESSAGES / 1e3:.1f} kB on average, made up",
        f"with seed {seed}, between {NUM_BANKS} banks. Machine: {machine}. Commit {commit(*MEASURED)}.",
        "",
        "| | processor s | times the reference |",
        "|---|---|---|",
        *(f"| {name} | {value:.1f} | {value / reference_s:.1f} |" for name, value in rows.items()),
        "",
        "Made by `python benchmarks/messages.py`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
