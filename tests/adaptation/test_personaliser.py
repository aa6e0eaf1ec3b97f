"""A trained model in use, against brute force, the planted tastes, and its own promises."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt import Event, Known, UserState, load
from warmprompt.adaptation.events import MAX_EVENTS, checked_events, user_text
from warmprompt.backbone.forward import count_forwards
from warmprompt.backbone.hashing import hash_weights
from warmprompt.errors import BadInputError, MismatchError, UnknownNameError
from warmprompt.experts import UserBatch
from warmprompt.experts.most_popular import MostPopular

NOW_S = 1_700_000_000


def scores_of(model, state, *, popularity=True):
    """Recompute the scores from the learned parameters, in float64."""
    trained = model.engine.trained
    params = {name: value.double().numpy() for name, value in trained.params.items()}
    constants = trained.data
    warm_V = constants.warm_V.double().numpy()
    items_VD = params["items.learned"] * warm_V[:, None]
    items_VD = items_VD + constants.item_text_VX.double().numpy() @ params["items.text_map"]
    popular_V = params["popularity.weight"] * constants.log_popularity_V.double().numpy()
    popular_V = popular_V + params["items.bias"] * warm_V
    scores_V = items_VD @ state.vector_D.astype(float) + (popular_V if popularity else 0.0)
    return scores_V + counted_of(model, state)


def counted_of(model, state):
    """Return what counted experts add, over events that are no dislikes: 2 or more on the scale of 1 to 5."""
    trained = model.engine.trained
    liked = [event for event in state.events if event.rating is None or event.rating >= 2.0]
    known = Known(events=liked, about=state.about, attributes=state.attributes)
    users = UserBatch(supports=[model.support_of(known)], vectors_BD=torch.zeros(1, len(state.vector_D)))
    counted, weights = trained.experts.experts, trained.experts.weights
    assert trained.experts.kappa == 0
    return sum(weight * counted[name].score(users)[0] for name, weight in weights.items())


def test_observing_one_by_one_is_adapting_to_all_at_once(model, user_events):
    state = model.adapt([], about="hm", attributes={"occupation": "farmer"})
    for event in user_events:
        state = model.observe(state, event)
    at_once = model.adapt(user_events, about="hm", attributes={"occupation": "farmer"})
    assert state.to_bytes() == at_once.to_bytes()


@pytest.fixture(scope="module")
def weighing(model):
    """Return the model as if it had been trained with weights, of which 3 counts 1."""
    return replace(
        model, engine=replace(model.engine, trained=replace(model.engine.trained, weight_unit=3.0))
    )


def test_an_ordinary_weight_is_no_weight_to_the_bit(model, weighing, user_events):
    ordinary = [replace(event, weight=3.0) for event in user_events]
    assert np.array_equal(weighing.adapt(ordinary).vector_D, model.adapt(user_events).vector_D)
    assert np.array_equal(weighing.adapt(user_events).vector_D, model.adapt(user_events).vector_D)


def test_a_stronger_event_draws_nearer_and_its_weight_comes_back(weighing, user_events):
    other = replace(user_events[0], rating=None)
    nearness = []
    for weight in (0.5, 3.0, 40.0):
        state = weighing.adapt([*user_events[1:3], replace(other, weight=weight)])
        assert UserState.from_bytes(state.to_bytes()).events[-1].weight == weight
        nearness.append(vector_at(weighing, state, other))
    assert nearness[0] < nearness[1] < nearness[2]


def vector_at(model, state, event):
    """Return how near a state lies to an event's item, less the mean over the catalogue."""
    scores_V = model.engine.catalogue_VD.cpu().numpy() @ state.vector_D
    return scores_V[model.index[event.item]] - scores_V.mean()


@pytest.mark.parametrize("weight", [0, -1.0, math.inf, math.nan, True, "3"])
def test_a_weight_is_a_number_above_zero(weighing, user_events, weight):
    with pytest.raises(BadInputError, match="weight of event 0"):
        weighing.adapt([replace(user_events[0], weight=weight)])


def test_a_model_without_weights_refuses_them(model, user_events):
    with pytest.raises(BadInputError, match="trained without weights"):
        model.adapt([replace(user_events[0], weight=2.0)])


def test_numpy_scalars_are_numbers_and_text(model, user_events):
    plain = [replace(event, time_s=5) for event in user_events]
    wrapped = [
        Event(item=np.str_(one.item), rating=np.float32(one.rating), time_s=np.uint32(5))
        for one in user_events
    ]
    assert wrapped == plain
    assert [type(value) for value in vars(wrapped[0]).values()] == [str, float, int, type(None), type(None)]
    assert model.adapt(wrapped).to_bytes() == model.adapt(plain).to_bytes()
    state = model.adapt(plain)
    expected = model.rank(state, 3, candidates=model.items[:20])
    assert model.rank(state, np.int64(3), candidates=np.array(model.items[:20])) == expected
    assert model.title(np.str_(user_events[0].item)) == model.title(user_events[0].item)
    with pytest.raises(BadInputError, match="rating of event 0"):
        model.adapt([replace(user_events[0], rating=np.float64("nan"))])


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint32])
def test_numpy_integers_are_ids(kind):
    event = Event(item=kind(5), rating=np.float16(3), time_s=np.int32(7), weight=np.float64(2))
    (checked,) = checked_events([event], index={5: 0}, scale=(1, 5), weighted=True, now_s=NOW_S)
    assert checked == Event(item=5, rating=3.0, time_s=7, weight=2.0)
    assert json.dumps(vars(checked)) == (
        '{"item": 5, "rating": 3.0, "time_s": 7, "weight": 2.0, "text": null}'
    )
    with pytest.raises(UnknownNameError):
        checked_events([Event(item=np.bool_(True))], index={1: 0}, scale=None, weighted=False, now_s=NOW_S)


def test_observing_leaves_the_old_state_as_it_was(model, user_events):
    state = model.adapt(user_events[:2])
    before = state.to_bytes()
    model.observe(state, user_events[2])
    assert state.to_bytes() == before


def test_of_events_with_the_same_item_the_last_counts(model, user_events):
    again = replace(user_events[0], rating=2.5)
    assert model.adapt([*user_events, again]).to_bytes() == model.adapt([*user_events[1:], again]).to_bytes()


@pytest.mark.parametrize("popularity", [True, False])
def test_the_ranking_is_the_sorted_catalogue_without_the_users_items(model, user_events, popularity):
    state = model.adapt(user_events)
    scores_V = scores_of(model, state, popularity=popularity)
    own = {event.item for event in user_events}
    expected = [model.items[item] for item in np.argsort(-scores_V) if model.items[item] not in own]
    ranking = model.rank(state, 60, drop=() if popularity else ("popularity",))
    assert list(ranking.items) == expected
    # The model sums eight float32 products, the oracle float64.
    places = [model.items.index(item) for item in ranking.items]
    assert ranking.scores == pytest.approx(scores_V[places], abs=1e-4)
    assert ranking.titles == tuple(model.title(item) for item in ranking.items)
    assert len(ranking) == len(model.items) - len(own)


def test_candidates_are_ranked_alone_in_the_order_of_the_whole(model, user_events):
    state = model.adapt(user_events)
    whole = model.rank(state, 60).items
    some = [whole[9], whole[3], user_events[0].item]
    assert model.rank(state, 5, candidates=some).items == (whole[3], whole[9])


def test_many_pass_size_adapt_as_each_alone(model, user_events):
    users = [
        Known(events=user_events[:3]),
        Known(),
        Known(about="I love westerns"),
        Known(events=user_events, about="x", attributes={"occupation": "artist"}),
    ]
    for known, state in zip(users, model.adapt_many(users), strict=True):
        alone = model.adapt(known.events, about=known.about, attributes=known.attributes)
        assert state.events == alone.events
        # Sums over a padded batch are split differently; two inner steps carry float32 error along.
        np.testing.assert_allclose(state.vector_D, alone.vector_D, atol=2e-4)
        np.testing.assert_allclose(state.offsets_PH, alone.offsets_PH, atol=2e-4)


def test_adapting_moves_rankings_towards_the_planted_taste(model, planted_folder):
    _, world = planted_folder
    inside = {True: [], False: []}
    for taste in range(4):
        liked = np.flatnonzero(world.item_tastes == taste)[:6]
        state = model.adapt([Event(item=model.items[item], rating=5.0) for item in liked])
        start = model.adapt([])
        for adapted, one in ((True, state), (False, start)):
            own = {event.item for event in state.events}
            items = model.rank(one, 10, candidates=[item for item in model.items if item not in own]).items
            inside[adapted].append(np.mean([world.item_tastes[model.items.index(i)] == taste for i in items]))
    # 9 of 54 candidates lie inside; by chance a top ten has .17 of them.
    assert np.mean(inside[True]) > np.mean(inside[False]) + 0.3


def test_a_dislike_lowers_what_a_like_raises(model):
    item = model.items[0]
    position = 0
    start, liked, disliked = (
        scores_of(model, model.adapt(events))[position]
        for events in ([], [Event(item=item, rating=5.0)], [Event(item=item, rating=1.0)])
    )
    assert disliked < start < liked


def test_a_title_leads_to_its_item(model):
    for item in model.items:
        assert model.find(model.title(item).lower()) == item


def test_the_frozen_model_is_read_as_rarely_as_promised(exact_model, user_events):
    model = exact_model
    backbone, steps = model.engine.backbone, 2
    fresh = replace(model, texts=type(model.texts)())
    fresh.adapt(user_events)
    # Two passes read a new text, one measures how prompts move behind it; once each.
    for text, before in ((None, []), ("a new sentence", [1, 1, 1]), ("a new sentence", [])):
        with count_forwards(backbone) as sizes:
            fresh.adapt(user_events, about=text)
        assert sizes == before + [1] * (steps + 1)
    with count_forwards(backbone) as sizes:
        fresh.adapt([])
        fresh.rank(fresh.adapt([]), 5)
    assert sizes == [1, 1]
    with count_forwards(backbone) as sizes:
        fresh.adapt_many([Known(events=user_events)] * 7)
    assert sizes == [7] * (steps + 1)


def test_nothing_in_the_path_writes_to_the_frozen_weights(model, user_events):
    before = hash_weights(model.engine.backbone.model)
    model.observe(model.adapt(user_events, about="anything"), user_events[0])
    assert hash_weights(model.engine.backbone.model) == before


def test_threads_may_share_a_model(model, user_events):
    texts = [f"person number {number}" for number in range(12)]
    alone = [model.adapt(user_events, about=text).to_bytes() for text in texts]
    fresh = replace(model, texts=type(model.texts)(size=3))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: fresh.adapt(user_events, about=text).to_bytes(), texts))
    assert together == alone


def test_a_state_of_another_model_is_refused(model, user_events):
    other = replace(model.adapt(user_events), model_hash="0" * 64)
    for use in (model.rank, lambda state: model.observe(state, user_events[0])):
        with pytest.raises(MismatchError, match="adapt the user again"):
            use(other)
    with pytest.raises(BadInputError):
        model.rank(b"WPUS")


def test_a_stored_state_works_in_a_model_opened_anew(model, user_events, trained_folder):
    data = model.adapt(user_events, about="x").to_bytes()
    again = load(trained_folder, clock=lambda: NOW_S)
    assert again.rank(UserState.from_bytes(data), 5) == model.rank(model.adapt(user_events, about="x"), 5)


@pytest.mark.parametrize(
    ("event", "error", "user_events"),
    [
        ({"item": "i0005"}, UnknownNameError, "item of event 1: 'i0005'. The nearest ids are"),
        ({"item": 7}, UnknownNameError, "item of event 1: '7'."),
        ({"rating": math.nan}, BadInputError, "rating of event 1: 'nan'. Give a finite number"),
        ({"rating": "5"}, BadInputError, "rating of event 1: '5'."),
        ({"rating": True}, BadInputError, "rating of event 1: 'True'."),
        ({"rating": 5.5}, BadInputError, "rating of event 1: '5.5'. Give 1 to 5."),
        ({"rating": 0}, BadInputError, "Give 1 to 5."),
        ({"time_s": -1}, BadInputError, "time of event 1: '-1'. Give whole seconds"),
        ({"time_s": 1.5}, BadInputError, "time of event 1: '1.5'."),
        ({"time_s": NOW_S + 1}, BadInputError, "It lies in the future"),
    ],
)
def test_a_wrong_event_is_refused_by_its_position(model, event, error, user_events):
    good = Event(item=model.items[0], rating=3.0, time_s=NOW_S)
    with pytest.raises(error) as caught:
        model.adapt([good, replace(good, **event)])
    assert user_events in caught.value.line()
    with pytest.raises(error, match="user 1, "):
        model.adapt_many([Known(), Known(events=[good, replace(good, **event)])])


@pytest.mark.parametrize(
    ("arguments", "user_events"),
    [
        ({"events": "i00001"}, "Give a list of warmprompt.Event."),
        ({"events": [("i00001", 5.0)]}, "event 0: \"('i00001', 5.0)\". Give warmprompt.Event("),
        ({"about": 3}, "about: '3'."),
        ({"about": "word " * 400}, "Shorten it: it has "),
        ({"attributes": {"age": 24}}, "attributes: 'age: 24'. Write names and values as text."),
        ({"attributes": [1]}, "Give a mapping"),
    ],
)
def test_something_else_that_is_given_of_a_user_is_refused(model, arguments, user_events):
    with pytest.raises(BadInputError) as caught:
        model.adapt(**arguments)
    assert user_events in caught.value.line()


def test_more_events_than_can_be_taken_are_counted(model):
    with pytest.raises(BadInputError, match=f"'{MAX_EVENTS + 1}'. Give at most {MAX_EVENTS}"):
        model.adapt([Event(item=model.items[0])] * (MAX_EVENTS + 1))


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "5"])
def test_a_number_of_places_is_a_whole_one(model, n):
    with pytest.raises(BadInputError, match="n: "):
        model.rank(model.adapt([]), n)


def test_unknown_candidates_are_refused(model):
    with pytest.raises(UnknownNameError, match="candidate: 'x'"):
        model.rank(model.adapt([]), 3, candidates=["x"])
    with pytest.raises(BadInputError):
        model.rank(model.adapt([]), 3, candidates="i00001")


@pytest.mark.parametrize(
    ("about", "attributes", "text"),
    [
        (None, {}, ""),
        ("I like war films", {}, "I like war films"),
        ("I like war films", {"note": "x"}, None),
    ],
)
def test_attributes_stand_before_the_sentence(about, attributes, text):
    written = user_text(about, attributes)
    if text is None:
        assert written.endswith(about)
        assert "note: x" in written
    else:
        assert written == text


def test_an_untitled_item_is_meant_by_its_id_alone(model):
    trained = model.engine.trained
    untitled = replace(model.engine, trained=replace(trained, titles=("", *trained.titles[1:])))
    without = replace(model, engine=untitled)
    first, second = model.items[:2]
    assert without.find(str(first)) == first
    # An item with a title is not: its id may be another item's title.
    with pytest.raises(UnknownNameError):
        without.find(str(second))
    with pytest.raises(UnknownNameError):
        model.find(str(first))


@pytest.mark.parametrize("inputs", [{"about": "\udcff love"}, {"attributes": {"occupation": "\udcff"}}])
def test_text_that_is_no_text_is_refused(model, inputs):
    # Bytes of a command line that are not UTF-8 arrive so.
    with pytest.raises(BadInputError, match="as text"):
        model.adapt([], **inputs)


def test_popularity_speaks_only_for_users_of_whom_nothing_is_known(model):
    expert = MostPopular(scores_V=np.arange(len(model.items), dtype=np.float32))
    mixture = model.engine.mixture.without("most_popular").with_weight(expert, 1000.0)
    other = replace(model, engine=replace(model.engine, mixture=mixture))
    best = list(other.items[::-1][:5])
    assert list(other.rank(other.adapt(), 5).items) == best
    assert list(other.rank_many([Known()], 5)[0].items) == best
    event = Event(item=other.items[0])
    for known in (Known(about="I like tea"), Known(events=[event])):
        state = other.adapt(known.events, about=known.about)
        assert list(other.rank(state, 5).items) != best
        assert list(other.rank_many([known], 5)[0].items) != best
        plain = model.rank(model.adapt(known.events, about=known.about), 5, drop=())
        np.testing.assert_array_equal(other.rank(state, 5).items, plain.items)
