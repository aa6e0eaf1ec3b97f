"""Generated titles exist, are not the user's own, and score as one plain pass per title says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt import Event
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.generation import titles
from warmprompt.generation.context import spoken, user_context
from warmprompt.generation.lm import open_language_model
from warmprompt.generation.search import Scoring
from warmprompt.generation.titles import generate_titles, score_titles, spoken_titles, title_writer
from warmprompt.runs.models import FrozenModels


@pytest.fixture(scope="module")
def writer(model, lm, tmp_path_factory):
    return title_writer(model, lm, home=tmp_path_factory.mktemp("titles"))


@pytest.fixture(scope="module")
def states(model):
    events = [Event(item=model.items[position], rating=5.0 - position % 5) for position in (0, 9, 13)]
    return [model.adapt(events, about="robots"), model.adapt([]), model.adapt(events[:1])]


@settings(max_examples=10)
@given(
    st.lists(
        st.tuples(st.integers(0, 59), st.sampled_from([1.0, 3.0, 5.0])), max_size=4, unique_by=lambda e: e[0]
    ),
    st.text(max_size=12),
    st.integers(1, 6),
)
def test_nothing_is_named_that_is_not_in_the_catalogue(model, writer, events, about, width):
    state = model.adapt(
        [Event(item=model.items[position], rating=rating) for position, rating in events], about=about
    )
    (found,) = generate_titles(writer, model, [state], 5, width=width)
    own = {event.item for event in state.events}
    assert set(found.items) <= set(model.items) - own
    assert found.titles == tuple(model.title(item) for item in found.items)
    assert len(set(found.items)) == len(found.items) == len(found.scores) <= 5
    assert list(found.scores) == sorted(found.scores, reverse=True)


@pytest.mark.parametrize("scoring", [Scoring(length_power=0.0), Scoring(correction=1.0)])
def test_exact_scores_are_those_of_one_pass_per_title(model, lm, writer, states, scoring):
    found_BV = score_titles(writer, model, states[:1], scoring=scoring)
    context = user_context(lm, model, states[0], task=titles.TASK)
    nobody = user_context(lm, model, None, task=titles.TASK)
    for item in (0, 17, 42):
        ids = [*lm.ids(spoken(model.engine.trained.titles[item])), lm.end_id]
        own, base = (plain_log_p(lm, one, ids) for one in (context, nobody))
        expected = (own - scoring.correction * base) / len(ids) ** scoring.length_power
        # Some twenty float32 logarithms are added up.
        assert found_BV[0, item] == pytest.approx(expected, abs=4e-3)


@torch.no_grad()
def plain_log_p(lm, context_TH, ids):
    logits = lm.model(inputs_embeds=torch.cat([context_TH, lm.embed(ids)])[None]).logits[0].double()
    log_p = torch.log_softmax(logits, dim=-1)[len(context_TH) - 1 :]
    return sum(log_p[position, token].item() for position, token in enumerate(ids))


def test_a_search_with_beams_for_all_is_the_exact_ranking(model, writer, states):
    scores_BV = score_titles(writer, model, states)
    for state, scores_V, found in zip(
        states, scores_BV, generate_titles(writer, model, states, 100, width=len(writer.trie)), strict=True
    ):
        own = {event.item for event in state.events}
        assert set(found.items) == set(model.items) - own
        places = [model.index[item] for item in found.items]
        np.testing.assert_allclose(found.scores, scores_V[places], atol=1e-3)


def test_users_run_as_a_batch_as_they_do_alone(model, writer, states):
    # Without correction: of somebody unknown nothing is gained, and the order would be rounding.
    together = generate_titles(writer, model, states, 8, width=3, scoring=Scoring())
    for state, found in zip(states, together, strict=True):
        (alone,) = generate_titles(writer, model, [state], 8, width=3, scoring=Scoring())
        assert found.items == alone.items
        assert found.scores == pytest.approx(alone.scores, abs=1e-3)


def test_generated_titles_are_candidates_for_the_ranking(model, writer, states):
    (found,) = generate_titles(writer, model, states[:1], 6)
    ranked = model.rank(states[0], 6, candidates=found.items)
    whole = [item for item in model.rank(states[0], 60).items if item in found.items]
    assert sorted(ranked.items) == sorted(found.items)
    assert list(ranked.items) == whole


def test_what_nobody_would_get_is_read_once_and_kept(model, lm, tmp_path, monkeypatch):
    first = title_writer(model, lm, home=tmp_path)
    monkeypatch.setattr(titles, "node_log_p", None)
    again = title_writer(model, lm, home=tmp_path)
    np.testing.assert_array_equal(first.base_X, again.base_X)
    assert np.isfinite(first.base_X).all()
    monkeypatch.setattr(titles, "TASK", "Name another.")
    with pytest.raises(TypeError):
        title_writer(model, lm, home=tmp_path)


def test_items_of_the_same_title_come_together_and_untitled_ones_never(model, lm, tmp_path):
    names = ["Same (1990)", "Same (1990)", "Same (1995)", "", *(f"Other {n}" for n in range(56))]
    trained = replace(model.engine.trained, titles=tuple(names))
    changed = replace(model, engine=replace(model.engine, trained=trained))
    writer = title_writer(changed, lm, home=tmp_path)
    assert len(writer.items) == 58
    assert (0, 1) in writer.items
    state = changed.adapt([])
    (found,) = generate_titles(writer, changed, [state], 60, width=len(writer.trie))
    assert set(found.items) == set(model.items) - {model.items[3]}
    scores_V = score_titles(writer, changed, [state])[0]
    assert scores_V[0] == scores_V[1] != scores_V[2]
    assert scores_V[3] == scores_V.min()
    assert np.sum(scores_V == scores_V.min()) == 1


def test_years_stay_where_they_tell_two_apart():
    names = ["Fly, The (1958)", "Fly, The (1986)", "Birds, The (1963)", ""]
    assert spoken_titles(names) == ["Fly, The (1958)", "Fly, The (1986)", "The Birds", ""]


def _with_backbone(engine, **changes):
    """Return the engine with another language model already loaded."""
    models = FrozenModels(engine.trained.manifest)
    backbone = replace(engine.backbone, **changes)
    models.once("backbone", lambda: backbone)
    return replace(engine, models=models)


def test_mistakes_are_refused(model, lm, writer, states, tmp_path):
    with pytest.raises(BadInputError, match="n: '0'"):
        generate_titles(writer, model, states, 0)
    trained = replace(model.engine.trained, titles=("",) * len(model.items))
    with pytest.raises(BadInputError, match="no titles"):
        title_writer(replace(model, engine=replace(model.engine, trained=trained)), lm, home=tmp_path)
    other = _with_backbone(model.engine, weights_hash="0" * 64)
    with pytest.raises(MismatchError, match="weights of backbone tiny"):
        open_language_model(other)
    encoder = _with_backbone(model.engine, name="tiny-encoder")
    with pytest.raises(BadInputError, match="encoder"):
        open_language_model(encoder)
