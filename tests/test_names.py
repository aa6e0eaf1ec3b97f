"""One public name, one meaning: the same class or function name in two modules is listed here, or a fault."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "warmprompt"

# Names that mean the same thing in every module that defines them.
SHARED = {
    "app": "a command",
    "apply_entries": "replays log entries on a history: of a user, of a payment entity",
    "entry_of": "writes what is logged as JSON: of a user, of a payment entity",
    "main": "runs a program and returns or leaves with its exit code",
    "meta_gradient": "the outer gradient of a learner",
    "query_loss": "mean negative log-likelihood of the query set, per user or entity",
    "ranking_rows": "a ranking as JSON values",
    "read": "reads one file format",
    "recognises": "tells whether a path holds one file format",
    "support_loss": "loss of the support set, per user or entity",
    "upgrade": "one migration of a store",
}


def test_each_public_name_has_one_meaning():
    modules = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                modules[node.name].append(str(path.relative_to(PACKAGE)))
    twice = {name: found for name, found in modules.items() if len(found) > 1 and not name.startswith("_")}
    assert set(twice) == set(SHARED), {name: twice.get(name) for name in set(twice) ^ set(SHARED)}
