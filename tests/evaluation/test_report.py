"""Results as JSON, Markdown and a picture."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest

from warmprompt.baselines import baseline
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.evaluation.plot import plot_metrics
from warmprompt.evaluation.protocols import ProtocolSettings
from warmprompt.evaluation.report import render_markdown
from warmprompt.evaluation.results import load_results, results_from_json, save_results, to_json
from warmprompt.evaluation.runner import EvaluationPlan, evaluate


@pytest.fixture(scope="module")
def results(worlds):
    """Return a small evaluation of two baselines over two seeds."""
    found = evaluate(
        {"itemknn": baseline("itemknn"), "toppop": baseline("toppop")},
        worlds.two_tastes(0),
        ProtocolSettings(ks=(0, 5)),
        EvaluationPlan(seeds=(0, 1), product="itemknn", num_resamples=100, num_timed=2),
    )
    return replace(found, commit="abc1234")


def test_json_and_back_changes_nothing_but_the_per_user_values(results, tmp_path):
    save_results(results, tmp_path / "results.json")
    again = load_results(tmp_path / "results.json")
    assert again == results
    assert again.per_user == {}
    assert to_json(again) == to_json(results)


def test_json_rows_have_the_promised_fields(results):
    row = json.loads(to_json(results))["rows"][0]
    names = ["model", "protocol", "k", "seed", "metric", "value", "low", "high", "num_users", "is_product"]
    assert list(row) == names


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"schema": 1}', '{"schema": 1, "rows": 3}'])
def test_damaged_json_is_refused(text):
    with pytest.raises(BadInputError):
        results_from_json(text)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "binary"):
        with pytest.raises(BadInputError, match=name):
            load_results(tmp_path / name)


def test_another_schema_is_refused(results):
    with pytest.raises(MismatchError, match="schema"):
        results_from_json(to_json(results).replace('"schema": 1', '"schema": 99'))


def test_the_markdown_holds_every_value_and_what_it_was_made_with(results):
    text = render_markdown(results)
    for row in results.rows:
        if row.seed is None:
            assert f"{row.value:.4f}" in text
            assert f"[{row.low:.4f}, {row.high:.4f}]" in text
    for row in results.differences:
        assert f"{row.value:+.4f}" in text
    for part in ("abc1234", results.content_hash, results.machine["processor"], "seeds 0, 1", "K = 5"):
        assert part in text
    assert str(results.counts[0].catalogue_size) in text


def test_a_file_from_before_rows_of_the_product_were_marked_still_opens(results):
    text = to_json(results)
    before = text.replace(', "is_product": false', "").replace(', "is_product": true', "")
    assert before != text
    assert [row.value for row in results_from_json(before).rows] == [row.value for row in results.rows]


def test_every_table_line_has_its_heads_number_of_cells(results):
    blocks = [block for block in render_markdown(results).split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 6
    for block in blocks:
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1


def test_the_highest_value_of_a_column_is_bold(results):
    values = {r.model: r.value for r in results.rows if r.seed is None and r.k == 5 and r.metric == "MRR"}
    text = render_markdown(results).split("## MRR")[1]
    assert f"**{max(values.values()):.4f}**" in text
    assert f"**{min(values.values()):.4f}**" not in text


def test_candidates_made_for_comparison_are_labelled(worlds):
    found = evaluate(
        {"toppop": baseline("toppop")},
        worlds.random_dataset(0),
        ProtocolSettings(ks=(0,), candidates="sampled100"),
        EvaluationPlan(num_resamples=10, num_timed=1),
    )
    assert {row.protocol for row in found.rows} == {"random (sampled100)"}
    text = render_markdown(found)
    assert "compare with papers only" in text
    assert "users with under 100 negatives" in text


def test_the_picture_is_a_png_of_three_panels(results, tmp_path):
    plot_metrics(results, tmp_path / "metrics.png")
    data = (tmp_path / "metrics.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (2070, 630)


def test_nothing_to_draw_is_refused(results, tmp_path):
    empty = type(results)(**{**vars(results), "rows": ()})
    with pytest.raises(BadInputError):
        plot_metrics(empty, tmp_path / "metrics.png")
    assert list(tmp_path.iterdir()) == []
