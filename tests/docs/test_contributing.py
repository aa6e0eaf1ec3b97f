"""The pages of docs/contributing, run as they stand: each adds a part, which passes what all parts pass."""

import re
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
import torch
from tests.assembly.small import small_settings
from tests.backbone import small_families, test_families
from tests.meta import quadratic, test_learners, test_trainer, worlds

from warmprompt.adaptation.opening import open_run
from warmprompt.backbone.load import load_backbone
from warmprompt.data import readers
from warmprompt.data.synthetic import planted_world
from warmprompt.experts.registry import EXPERTS
from warmprompt.meta.learners import LEARNERS
from warmprompt.training import mixture_weights
from warmprompt.training.run import train_run

PAGES = Path(__file__).parents[2] / "docs" / "contributing"


def blocks(page, kind="python"):
    """Return the code blocks of a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)


def run(block, names=()):
    """Run a block with some names in scope, and return its names."""
    scope = dict(names)
    exec(compile(block, "docs/contributing", "exec", dont_inherit=True), scope)
    return scope


@pytest.fixture
def module(monkeypatch):
    """Return a function from a name and a block to the module that the block is."""

    def make(name, block):
        made = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)  # dataclasses look their module up
        exec(compile(block, name, "exec", dont_inherit=True), vars(made))
        return made

    return make


@pytest.mark.usefixtures("text_home")
def test_the_expert_of_the_page_joins_a_run(module, monkeypatch, tmp_path):
    file, test = blocks("expert.md")
    kind = module("warmprompt.experts.recent_popularity", file).RecentPopularity
    monkeypatch.setitem(EXPERTS, kind.name, kind)
    names = run(test, {"RecentPopularity": kind})
    names["test_recent_events_are_counted"]()
    names["test_it_keeps_the_contract"]()
    (use,) = re.findall(r"--set (experts\.use=\S+)", "".join(blocks("expert.md", "console")))
    # Its weight begins here, where that of most experts begins at 0: the small world has no recent fashions.
    monkeypatch.setitem(mixture_weights.START, kind.name, 0.5)
    world = planted_world(num_users=120, num_items=40, num_tastes=3, seed=0).dataset
    train_run(small_settings(use), tmp_path / "run", dataset=world)
    model = open_run(tmp_path / "run")
    assert isinstance(model.engine.mixture.experts[kind.name], kind)
    assert f"\n{kind.name} " in str(model.describe())


def test_the_format_of_the_page_is_recognised_and_read(tmp_path, module):
    file, entry, test = blocks("data-format.md")
    plays = module("warmprompt.data.readers.plays", file)
    with patch.dict(readers.FORMATS):
        run(entry, {**vars(readers), **vars(plays)})
        run(test)["test_plays_become_weights"](tmp_path)


def test_the_family_of_the_page_passes_what_all_families_pass(tmp_path):
    (line,) = blocks("backbone.md")
    with patch.dict(small_families.DECODERS), patch.dict(small_families.WORKING):
        run(line, vars(small_families))
        (family,) = set(small_families.DECODERS) - set(small_families.WORKING)
        small_families.WORKING[family] = small_families.DECODERS[family]
        folder = small_families.save_family(family, tmp_path / "model")
    test_families.test_gradients_in_the_prompt_are_slopes_once_and_twice(folder)
    test_families.test_text_vectors_are_the_librarys_mean_states(folder)
    test_families.test_a_depth_that_the_model_does_not_have_is_refused_from_its_configuration(folder)
    for depth, attention in ((1, "sdpa"), (2, "eager"), (None, "sdpa")):
        test_families.test_a_padded_batch_with_cached_texts_is_the_librarys_whole_pass(
            folder, depth, attention
        )
    (row,) = blocks("backbone.md", "markdown")
    attention = {"sdpa": "fused or eager", "eager": "eager"}[load_backbone(folder).attention]
    assert row == f"| {family} | decoder | yes | yes | {attention} |\n"


@pytest.fixture
def learner(module, monkeypatch):
    """Return the name of the page's learner, which stands in both tables."""
    file, entry = blocks("learner.md")
    made = module("warmprompt.meta.multi_step", file).multi_step
    monkeypatch.setitem(LEARNERS, made.name, made)
    with patch.dict(quadratic.EXPECTED):
        run(entry)
        yield made.name


def test_the_learner_of_the_page_is_the_closed_form_and_pure(learner):
    torch.set_default_dtype(torch.float64)
    try:
        test_learners.test_meta_gradients_on_a_quadratic_are_the_closed_forms(learner)
        test_learners.test_a_meta_gradient_is_a_pure_function(worlds, learner)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_learner_of_the_page_learns_the_planted_world(learner):
    test_trainer.test_adapted_users_are_ranked_far_better_than_by_popularity_and_than_unadapted_ones(
        worlds.ready_world(), learner
    )
