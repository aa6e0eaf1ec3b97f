"""Leave-one-out effects against users adapted alone and scores recomputed from the learned parameters."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt import Event, Known
from warmprompt.adaptation.events import user_text
from warmprompt.adaptation.explain import attribute
from warmprompt.backbone.forward import count_forwards
from warmprompt.errors import BadInputError, MismatchError, UnknownNameError
from warmprompt.experts import UserBatch
from warmprompt.experts.most_popular import MostPopular

# Short, since the small model reads letter by letter.
ABOUT = "I dig robots, ok!"
WHO = {"n": "x", "m": "y"}
# A batch adds float32 numbers in another order than a user alone does; see test_personaliser.
CLOSE = 5e-4


@pytest.fixture(scope="module")
def user_events(model):
    return [
        Event(item=model.items[position], rating=float(1 + position % 5)) for position in (0, 7, 14, 21, 28)
    ]


@pytest.fixture(scope="module")
def state(model, user_events):
    return model.adapt(user_events, about=ABOUT, attributes=WHO)


@pytest.fixture(scope="module")
def items(model, state):
    return model.rank(state, 3).items


def scores_of(model, state):
    """Recompute the scores from the learned parameters, in float64."""
    trained = model.engine.trained
    params = {name: value.double().numpy() for name, value in trained.params.items()}
    constants = trained.data
    warm_V = constants.warm_V.double().numpy()
    items_VD = params["items.learned"] * warm_V[:, None]
    items_VD = items_VD + constants.item_text_VX.double().numpy() @ params["items.text_map"]
    popular_V = params["popularity.weight"] * constants.log_popularity_V.double().numpy()
    scores_V = items_VD @ state.vector_D.astype(float) + popular_V + params["items.bias"] * warm_V
    return scores_V + counted_of(model, state), items_VD


def counted_of(model, state):
    """Return what counted experts add, over events that are no dislikes: 2 or more on the scale of 1 to 5."""
    trained = model.engine.trained
    liked = [event for event in state.events if event.rating is None or event.rating >= 2.0]
    known = Known(events=liked, about=state.about, attributes=state.attributes)
    users = UserBatch(supports=[model.support_of(known)], vectors_BD=torch.zeros(1, len(state.vector_D)))
    counted, weights = trained.experts.experts, trained.experts.weights
    assert trained.experts.kappa == 0
    return sum(weight * counted[name].score(users)[0] for name, weight in weights.items())


def centred(model, state, item):
    scores_V, _ = scores_of(model, state)
    return scores_V[model.index[item]] - scores_V.mean()


def place_of(model, state, item, user_events):
    own = {model.index[event.item] for event in user_events}
    scores_V, _ = scores_of(model, state)
    order = [one for one in np.argsort(-scores_V) if one not in own]
    return order.index(model.index[item]) + 1


def test_an_effect_is_what_the_score_loses_without_it(model, state, user_events, items):
    for found in attribute(model, state, items):
        assert found.score == pytest.approx(centred(model, state, found.item), abs=CLOSE)
        assert found.rank == list(items).index(found.item) + 1
        for one in found.events:
            rest = [event for event in user_events if event != one.event]
            without = model.adapt(rest, about=ABOUT, attributes=WHO)
            loss = centred(model, state, found.item) - centred(model, without, found.item)
            assert one.effect == pytest.approx(loss, abs=CLOSE)
            assert one.rank_without == place_of(model, without, found.item, user_events)
            assert one.title == model.title(one.event.item)


def test_words_and_attributes_are_left_out_one_by_one(model, state, user_events, items):
    (found,) = attribute(model, state, items[:1])
    without = {
        ("word", "I"): ("dig robots, ok!", WHO),
        ("word", "dig"): ("I robots, ok!", WHO),
        ("word", "robots"): ("I dig ok!", WHO),
        ("word", "ok"): ("I dig robots,", WHO),
        ("attribute", "x"): (ABOUT, {"m": "y"}),
        ("attribute", "y"): (ABOUT, {"n": "x"}),
    }
    assert {(one.kind, one.text) for one in found.words} == set(without)
    assert {one.name for one in found.words} == {"", "n", "m"}
    for one in found.words:
        about, attributes = without[one.kind, one.text]
        other = model.adapt(user_events, about=about, attributes=attributes)
        loss = centred(model, state, found.item) - centred(model, other, found.item)
        assert one.effect == pytest.approx(loss, abs=CLOSE)


def test_strongest_comes_first(model, state, items):
    for found in attribute(model, state, items):
        for effects in (found.events, found.words):
            values = [one.effect for one in effects]
            assert values == sorted(values, reverse=True)
            assert max(map(abs, values)) > CLOSE


def test_the_only_word_and_the_only_event_can_be_left_out(model, items):
    alone = model.adapt([Event(item=model.items[0], rating=5.0)], about="robots")
    item = next(one for one in items if one != model.items[0])
    (found,) = attribute(model, alone, [item])
    nothing = centred(model, model.adapt([], about="robots"), item)
    assert found.events[0].effect == pytest.approx(centred(model, alone, item) - nothing, abs=CLOSE)
    assert [one.text for one in found.words] == ["robots"]


def test_all_that_is_left_out_runs_in_one_batch(exact_model, state, user_events, items):
    model = exact_model
    state = model.with_prompt(state)
    rows = 1 + len(user_events) + len(WHO) + len(ABOUT.split())
    backbone, steps = model.engine.backbone, 2
    model.texts.get(model.engine, user_text(ABOUT, WHO)).responses[0].get()
    assert model.engine.no_text.responses  # measured once per model
    with count_forwards(backbone) as sizes:
        attribute(model, state, items[:1])
    # Each distinct text is read once and taken at the reference prompt once; then come the steps. In each,
    # one pass over the texts that miss something serves all rounds that find how prompts move behind them.
    missing = len(WHO) + len(ABOUT.split())
    assert sizes == [1 + missing, 1 + missing, *[rows, missing] * steps, rows]
    with count_forwards(backbone) as again:
        attribute(model, state, items)
    assert again == sizes
    with count_forwards(backbone) as silent:
        attribute(model, model.adapt(user_events), items[:1])
    assert silent == [1] * (steps + 1) + [1 + len(user_events)] * (
        steps + 1
    )  # the state itself, then the batch


def test_a_text_not_kept_is_measured_once_however_many_words_are_left_out(
    exact_model, state, user_events, items
):
    model = exact_model
    state = model.with_prompt(state)
    fresh = replace(model, texts=type(model.texts)())
    counts = []
    for one in (model, fresh):
        with count_forwards(model.engine.backbone) as sizes:
            attribute(one, state, items[:1])
        counts.append(sizes)
    kept, measured = counts
    assert fresh.texts.peek(user_text(ABOUT, WHO)) is None
    # The text read, the reference prompt, and one row for all factors.
    assert sorted(measured) == sorted([*kept, 1, 1, 1])


def test_nearest_are_the_liked_items_by_cosine(model, state, user_events, items):
    (found,) = attribute(model, state, items[:1], num_nearest=2)
    _, items_VD = scores_of(model, state)
    unit_VD = items_VD / np.linalg.norm(items_VD, axis=1, keepdims=True)
    own_D = unit_VD[model.index[found.item]]
    liked = {
        event.item: unit_VD[model.index[event.item]] @ own_D for event in user_events if event.rating >= 4
    }
    expected = sorted(liked.items(), key=lambda pair: -pair[1])[:2]
    assert len(expected) == 2
    assert [one.item for one in found.nearest] == [item for item, _ in expected]
    assert [one.similarity for one in found.nearest] == pytest.approx(
        [value for _, value in expected], abs=1e-5
    )
    assert [one.title for one in found.nearest] == [model.title(item) for item, _ in expected]


def test_somebody_of_whom_nothing_is_known_has_no_effects(model):
    state = model.adapt([])
    (found,) = attribute(model, state, model.rank(state, 1).items)
    assert (found.events, found.words, found.nearest) == ((), (), ())
    assert found.rank == 1


def test_what_cannot_be_explained_is_refused(model, state, user_events, items):
    with pytest.raises(BadInputError, match="one of the user's own"):
        attribute(model, state, [user_events[0].item])
    with pytest.raises(UnknownNameError):
        attribute(model, state, ["nothing"])
    for wrong in ([], "i00001"):
        with pytest.raises(BadInputError, match="items"):
            attribute(model, state, wrong)
    with pytest.raises(MismatchError):
        attribute(model, replace(state, model_hash="0" * 64), items)


def test_parts_of_experts_sum_to_the_score(model, state, items):
    for found in attribute(model, state, items):
        assert [one.name for one in found.experts] != []
        assert sum(one.part for one in found.experts) == pytest.approx(found.score, abs=CLOSE)
        vector = next(one.part for one in found.experts if one.name == "user_vector")
        scores_V = model.engine.catalogue_VD.numpy() @ state.vector_D
        assert vector == pytest.approx(scores_V[model.index[found.item]] - scores_V.mean(), abs=CLOSE)


def test_an_only_event_is_compared_within_the_experts_that_the_user_has(model):
    expert = MostPopular(scores_V=np.arange(len(model.items), dtype=np.float32))
    mixture = model.engine.mixture.without("most_popular").with_weight(expert, 1000.0)
    other = replace(model, engine=replace(model.engine, mixture=mixture))
    event, wanted = Event(item=other.items[0]), [other.items[-1]]
    state = other.adapt([event])
    (found,) = attribute(other, state, wanted)
    plain = replace(model, engine=replace(model.engine, mixture=mixture.without("most_popular")))
    (expected,) = attribute(plain, plain.adapt([event]), wanted)
    assert found.events == expected.events
    assert {part.name: part.part for part in found.experts if part.part} == {
        part.name: part.part for part in expected.experts if part.part
    }
