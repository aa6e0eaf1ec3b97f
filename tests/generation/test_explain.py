"""An explanation's sentence is one of the grammar's, holds, and is replaced where it does not."""

from dataclasses import replace

import pytest

from warmprompt import Event
from warmprompt.adaptation.explain import attribute
from warmprompt.backbone.forward import count_forwards
from warmprompt.errors import MismatchError
from warmprompt.generation import explain as under_test
from warmprompt.generation.check import claims_of
from warmprompt.generation.explain import explain, write_sentences
from warmprompt.generation.facts import catalogue_facts
from warmprompt.generation.sentences import sentences_for, template_for


@pytest.fixture(scope="module")
def state(model):
    events = [Event(item=model.items[position], rating=5.0 - position % 5) for position in (0, 7, 14, 21)]
    return model.adapt(events, about="I dig robots")


@pytest.fixture(scope="module")
def items(model, state):
    return model.rank(state, 2).items


def test_the_model_chooses_a_sentence_that_may_be_written(model, lm, facts, state, items):
    found = explain(model, state, items, facts, writer=lm)
    for one, attribution in zip(found, attribute(model, state, items), strict=True):
        assert one.how == "model"
        assert one.sentence in sentences_for(attribution, facts, model.rating_scale)
        assert one.checks == claims_of(one.sentence, attribution, facts, model.rating_scale)
        assert all(claim.holds for claim in one.checks)
        assert (one.item, one.rank, one.events) == (attribution.item, attribution.rank, attribution.events)


def test_the_chosen_sentence_beats_the_others_per_token(model, lm, state):
    # Two beams and three sentences that part at their first letters: nothing is pruned but the worst.
    choices = ["“A” is suggested because it is popular.", "“B” comes up because it is popular."]
    (chosen,) = write_sentences(lm, model, state, [choices])
    import torch

    from warmprompt.generation.context import user_context

    context = user_context(lm, model, state, task=under_test.TASK)
    scores = []
    for text in choices:
        ids = [*lm.ids(text), lm.end_id]
        with torch.no_grad():
            logits = lm.model(inputs_embeds=torch.cat([context, lm.embed(ids)])[None]).logits[0].double()
        log_p = torch.log_softmax(logits, dim=-1)[len(context) - 1 :]
        scores.append(sum(log_p[position, token].item() for position, token in enumerate(ids)) / len(ids))
    assert chosen == choices[scores.index(max(scores))]


def test_a_sentence_that_does_not_hold_is_replaced_by_the_template(
    model, lm, facts, state, items, monkeypatch
):
    lie = "“Jaws” is suggested because you liked “Heat”."
    monkeypatch.setattr(under_test, "write_sentences", lambda *_: [lie] * len(items))
    for one, attribution in zip(
        explain(model, state, items, facts, writer=lm), attribute(model, state, items), strict=True
    ):
        assert one.how == "template"
        assert one.sentence == template_for(attribution, facts, model.rating_scale)
        assert not all(claim.holds for claim in one.checks)
        assert "Heat" not in one.sentence


def test_without_a_writer_the_template_speaks_and_is_checked(model, facts, state, items):
    with count_forwards(model.engine.backbone) as effects:
        attribute(model, state, items)
    with count_forwards(model.engine.backbone) as whole:
        found = explain(model, state, items, facts)
    assert whole == effects
    for one in found:
        assert one.how == "template"
        assert one.checks
        assert all(claim.holds for claim in one.checks)


def test_somebody_unknown_reads_that_nothing_speaks_for_it_or_that_it_is_popular(model, lm, facts):
    state = model.adapt([])
    items = model.rank(state, 60).items
    found = explain(model, state, items, facts)
    for one in found:
        popular = one.item in facts.popular
        assert ("it is popular" in one.sentence) == popular
        assert ("nothing you gave" in one.sentence) != popular
    assert 0 < len(facts.popular) < len(items) / 2


def test_facts_come_from_the_data_set_of_the_run(model, planted_folder, facts):
    world = planted_folder[1]
    assert facts.genres[model.items[5]] == tuple(world.dataset.items["genres"].to_list()[5])
    bare = catalogue_facts(model)
    assert set(bare.genres.values()) == {()}
    assert bare.popular == facts.popular
    with pytest.raises(MismatchError, match="other items"):
        catalogue_facts(model, replace(world.dataset, item_ids=world.dataset.item_ids[::-1]))
