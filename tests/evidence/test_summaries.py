"""Summary pages: values against a written table, and pages on disk against their templates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from warmprompt.errors import UnknownNameError
from warmprompt.evidence.summaries import fill, write_summaries

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "benchmarks" / "results"
RESULTS = ROOT / "docs" / "results"


def row(model, k, value, metric="NDCG@10", seed=None):
    return {
        "model": model, "k": k, "seed": seed, "metric": metric, "value": value, "low": value - 0.01,
        "high": value + 0.01, "num_users": 1000 + k,
    }  # fmt: skip


def gain(role, other, k, percent, p_holm, metric="NDCG@10"):
    return {
        "role": role, "other": other, "k": k, "metric": metric, "product_value": 0.1, "other_value": 0.08,
        "percent": percent, "percent_low": percent - 1, "percent_high": percent + 2, "p_holm": p_holm,
    }  # fmt: skip


@pytest.fixture
def tables(tmp_path):
    """Return the folder of one written table, next to a file of other numbers."""
    table = {
        "rows": [
            row("ours", 0, 0.04931), row("ours", 5, 0.08898), row("ours", 5, 0.5, metric="HR@10"),
            row("ours", 5, 0.7, seed=1), row("ease, searched", 5, 0.08),
        ],
        "headline": [gain("best", "ials", 5, 3.26, 0.049), gain("blend", "blend", 5, -1.04, 0.051)],
        "further": [gain("other", "ials", 0, 7.5, 1.0), gain("other", "ials", 5, 2.0, 0.003)],
        "mean_gains": [{"role": "best", "percent": 2.97, "low": -0.04, "high": 4.43}],
        "costs": [
            {"model": "ours", "p50_ms": 10.0, "p50_cpu_ms": 4.0},
            {"model": "ours", "p50_ms": 13.0, "p50_cpu_ms": 5.9},
        ],
    }  # fmt: skip
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "small.json").write_text(json.dumps(table))
    (tmp_path / "speed.json").write_text(json.dumps({"adapt": [{"p50 ms": 32.17}, {"p50 ms": 6945.1}]}))
    return folder


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("value; small; ours; 0 5", ".0493 | .0890"),
        ("value; small; ours; 5; HR@10, digits 3", ".500"),
        ("value; small; ease, searched; 5; interval", ".0800 [.0700, .0900]"),
        ("gain; small; best; 5", "+3.3 [+2.3, +5.3]\\*"),
        ("gain; small; blend; 5", "-1.0 [-2.0, +1.0]"),
        ("gain; small; ials; 0 5; short, digits 0", "+8 | +2\\*"),
        ("gain; small; best; 5; inverse", "-20.0\\*"),
        ("own; small; best; 5", ".1000"),
        ("within; small; ials; 0 5", "[+1.0, +9.5]"),
        ("ratio; small; ours; 5; small; ease, searched", "+11.2"),
        ("mean; small; best", "+3.0 [-0.0, +4.4]"),
        ("p; small; blend; 5", ".051"),
        ("p; small; ials; 0 5; digits 1", "1 | .003"),
        ("users; small; 5", "1,005"),
        ("ms; small; ours", "12"),
        ("ms; small; ours; cpu", "5"),
        ("json; speed.json; adapt/1/p50 ms; ,.0f", "6,945"),
    ],
)
def test_placeholders_show_the_tables_numbers(tables, words, shown):
    assert fill(f"a {{{{{words}}}}} b", tables) == f"a {shown} b"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("median; small; ours; 5", "Choose value, gain"),
        ("value; nowhere; ours; 5", "nowhere"),
        ("value; small; theirs; 5", "theirs"),
        ("value; small; ours; 3", "K = 3"),
        ("value; small; ours; five", "five"),
        ("value; small; ours", "values to unpack"),
        ("value; small; ours; 5; digit 3", "digit 3"),
        ("gain; small; best; 0", "over 'best'"),
        ("mean; small; blend", "values to unpack"),
        ("users; small; 3", "empty"),
        ("json; speed.json; adapt/2; .0f", "range"),
    ],
)
def test_unknown_values_are_refused(tables, words, problem):
    with pytest.raises(UnknownNameError, match=problem):
        fill(f"{{{{{words}}}}}", tables)


def test_pages_without_their_tables_are_kept(tables, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "full.md").write_text("{{users; small; 5}} users")
    (tmp_path / "templates" / "lacking.md").write_text("{{users; small; 5}} {{json; none.json; a; .0f}}")
    lines = write_summaries(tmp_path / "templates", tables)
    assert lines == [f"wrote {tmp_path}/full.md", f"kept {tmp_path}/lacking.md: no none.json here"]
    assert (tmp_path / "full.md").read_text() == "1,005 users"
    assert not (tmp_path / "lacking.md").exists()


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.md")), ids=lambda file: file.stem)
def test_pages_on_disk_equal_their_templates(template):
    page = fill(template.read_text(encoding="utf-8"), RESULTS / "evidence")
    assert (RESULTS / template.name).read_text(encoding="utf-8") == page, "run `warmprompt evidence report`"


def test_results_and_ablations_have_templates():
    assert {"index.md", "ablations.md"} <= {file.name for file in TEMPLATES.glob("*.md")}
