"""How commands of the documentation are run that cannot be run as they stand, and why."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """An exception.

    Attributes:
        command: Regular expression that a command begins with.
        how: "parse": only the options are checked; "make": only that the target can be made; "nothing".
        why: The reason.
    """

    command: str
    how: str
    why: str


_WARMPROMPT = r"(?:\.venv/bin/)?warmprompt"
RULES = (
    Rule("make (?:test|check|demo-risk|evidence|docs)", "make", "installs more, or takes minutes"),
    Rule(r"python3 -m venv |\.venv/bin/python -m pip (?:install|wheel) ", "nothing", "made this environment"),
    Rule("make demo", "make", "the fixture `demo_run` trains on its data set with a smaller language model"),
    Rule(r"\.venv/bin/python -m warmprompt\.demo ", "parse", "as `make demo`"),
    Rule(rf"{_WARMPROMPT} data get ml-1m", "parse", "comes from another host than the package index"),
    Rule(
        rf"{_WARMPROMPT} evidence build --only dataset=ml-1m",
        "parse",
        "needs that data set, as the page says",
    ),
    Rule(rf"{_WARMPROMPT} risk ", "parse", "needs the extra risk; run by tests/cli/test_risk.py"),
    Rule(rf"{_WARMPROMPT} serve .*--risk ", "parse", "needs the extra risk; run by tests/service"),
    Rule(r"curl .*/v1/entities/", "nothing", "needs the extra risk; asked by tests/service"),
    Rule(r"export WARMPROMPT_STORE=postgresql:", "nothing", "needs a PostgreSQL; run by tests/service"),
    Rule(rf"{_WARMPROMPT} serve .* & ", "parse", "needs the PostgreSQL of the line before it"),
)


def rule_of(command: str) -> Rule | None:
    """Return the exception that a command falls under, or None: it is run as it stands."""
    return next((rule for rule in RULES if re.match(rule.command, command)), None)


def kind_of(command: str) -> str | None:
    """Return the command of `warmprompt`, or None for another program."""
    found = re.match(rf"{_WARMPROMPT} (\w+)", command)
    return found and found[1]


def is_server(command: str) -> bool:
    """Tell whether a command goes on until it is interrupted."""
    return re.match(rf"make serve\b|{_WARMPROMPT} serve ", command) is not None
