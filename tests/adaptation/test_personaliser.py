"""A trained model in use, against brute force, the planted tastes, and its own promises."""

import json
import math
import subprocess
import sys
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

NOW_S = 1_700_000_000


@pytest.fixture(scope="module")
def told(model):
    """Return six events with different ratings."""
    return [Event(item=item, rating=float(1 + place % 5)) for place, item in enumerate(model.items[:60:10])]


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
    users = UserBatch(supports=[model.support_of(liked)], vectors_BD=torch.zeros(1, len(state.vector_D)))
    weights = trained.experts.weights
    assert trained.experts.kappa == 0
    return sum(weights[name] * one.score(users)[0] for name, one in trained.experts.experts.items())


def test_observing_one_by_one_is_adapting_to_all_at_once(model, told):
    state = model.adapt([], about="hm", attributes={"occupation": "farmer"})
    for event in told:
        state = model.observe(state, event)
    at_once = model.adapt(told, about="hm", attributes={"occupation": "farmer"})
    assert state.to_bytes() == at_once.to_bytes()


@pytest.fixture(scope="module")
def weighing(model):
    """Return the model as if it had been trained with weights, of which 3 counts 1."""
    return replace(
        model, engine=replace(model.engine, trained=replace(model.engine.trained, weight_unit=3.0))
    )


def test_an_ordinary_weight_is_no_weight_to_the_bit(model, weighing, told):
    ordinary = [replace(event, weight=3.0) for event in told]
    assert np.array_equal(weighing.adapt(ordinary).vector_D, model.adapt(told).vector_D)
    assert np.array_equal(weighing.adapt(told).vector_D, model.adapt(told).vector_D)


def test_a_stronger_event_draws_nearer_and_its_weight_comes_back(weighing, told):
    other = replace(told[0], rating=None)
    nearness = []
    for weight in (0.5, 3.0, 40.0):
        state = weighing.adapt([*told[1:3], replace(other, weight=weight)])
        assert UserState.from_bytes(state.to_bytes()).events[-1].weight == weight
        nearness.append(vector_at(weighing, state, other))
    assert nearness[0] < nearness[1] < nearness[2]


def vector_at(model, state, event):
    """Return how near a state lies to an event's item, less the mean over the catalogue."""
    scores_V = model.engine.catalogue_VD.cpu().numpy() @ state.vector_D
    return scores_V[model.index[event.item]] - scores_V.mean()


@pytest.mark.parametrize("weight", [0, -1.0, math.inf, math.nan, True, "3"])
def test_a_weight_is_a_number_above_zero(weighing, told, weight):
    with pytest.raises(BadInputError, match="weight of event 0"):
        weighing.adapt([replace(told[0], weight=weight)])


def test_a_model_without_weights_refuses_them(model, told):
    with pytest.raises(BadInputError, match="trained without weights"):
        model.adapt([replace(told[0], weight=2.0)])


def test_numpy_scalars_are_numbers_and_text(model, told):
    plain = [replace(event, time_s=5) for event in told]
    wrapped = [
        Event(item=np.str_(one.item), rating=np.float32(one.rating), time_s=np.uint32(5)) for one in told
    ]
    assert wrapped == plain
    assert [type(value) for value in vars(wrapped[0]).values()] == [str, float, int, type(None)]
    assert model.adapt(wrapped).to_bytes() == model.adapt(plain).to_bytes()
    state = model.adapt(plain)
    expected = model.rank(state, 3, candidates=model.items[:20])
    assert model.rank(state, np.int64(3), candidates=np.array(model.items[:20])) == expected
    assert model.title(np.str_(told[0].item)) == model.title(told[0].item)
    with pytest.raises(BadInputError, match="rating of event 0"):
        model.adapt([replace(told[0], rating=np.float64("nan"))])


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint32])
def test_numpy_integers_are_ids(kind):
    event = Event(item=kind(5), rating=np.float16(3), time_s=np.int32(7), weight=np.float64(2))
    (checked,) = checked_events([event], index={5: 0}, scale=(1, 5), weighted=True, now_s=NOW_S)
    assert checked == Event(item=5, rating=3.0, time_s=7, weight=2.0)
    assert json.dumps(vars(checked)) == '{"item": 5, "rating": 3.0, "time_s": 7, "weight": 2.0}'
    with pytest.raises(UnknownNameError):
        checked_events([Event(item=np.bool_(True))], index={1: 0}, scale=None, weighted=False, now_s=NOW_S)


def test_observing_leaves_the_old_state_as_it_was(model, told):
    state = model.adapt(told[:2])
    before = state.to_bytes()
    model.observe(state, told[2])
    assert state.to_bytes() == before


def test_of_events_with_the_same_item_the_last_counts(model, told):
    again = replace(told[0], rating=2.5)
    assert model.adapt([*told, again]).to_bytes() == model.adapt([*told[1:], again]).to_bytes()


@pytest.mark.parametrize("popularity", [True, False])
def test_the_ranking_is_the_sorted_catalogue_without_the_users_items(model, told, popularity):
    state = model.adapt(told)
    scores_V = scores_of(model, state, popularity=popularity)
    own = {event.item for event in told}
    expected = [model.items[item] for item in np.argsort(-scores_V) if model.items[item] not in own]
    ranking = model.rank(state, 60, drop=() if popularity else ("popularity",))
    assert list(ranking.items) == expected
    # The model sums eight float32 products, the oracle float64.
    places = [model.items.index(item) for item in ranking.items]
    assert ranking.scores == pytest.approx(scores_V[places], abs=1e-4)
    assert ranking.titles == tuple(model.title(item) for item in ranking.items)
    assert len(ranking) == len(model.items) - len(own)


def test_candidates_are_ranked_alone_in_the_order_of_the_whole(model, told):
    state = model.adapt(told)
    whole = model.rank(state, 60).items
    some = [whole[9], whole[3], told[0].item]
    assert model.rank(state, 5, candidates=some).items == (whole[3], whole[9])


def test_many_users_at_once_adapt_as_each_alone(model, told):
    users = [
        Known(events=told[:3]),
        Known(),
        Known(about="I love westerns"),
        Known(events=told, about="x", attributes={"occupation": "artist"}),
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
    place = 0
    start, liked, disliked = (
        scores_of(model, model.adapt(events))[place]
        for events in ([], [Event(item=item, rating=5.0)], [Event(item=item, rating=1.0)])
    )
    assert disliked < start < liked


def test_a_title_leads_to_its_item(model):
    for item in model.items:
        assert model.find(model.title(item).lower()) == item


def test_the_frozen_model_is_read_as_rarely_as_promised(exact_model, told):
    model = exact_model
    backbone, steps = model.engine.backbone, 2
    fresh = replace(model, texts=type(model.texts)())
    fresh.adapt(told)
    # Two passes read a new text, one of a row per factor measures how prompts move behind it; once each.
    width = len(model.engine.trained.readout.move_DH)
    for text, before in ((None, []), ("a new sentence", [1, 1, width]), ("a new sentence", [])):
        with count_forwards(backbone) as sizes:
            fresh.adapt(told, about=text)
        assert sizes == before + [1] * (steps + 1)
    with count_forwards(backbone) as sizes:
        fresh.adapt([])
        fresh.rank(fresh.adapt([]), 5)
    assert sizes == [1, 1]
    with count_forwards(backbone) as sizes:
        fresh.adapt_many([Known(events=told)] * 7)
    assert sizes == [7] * (steps + 1)


def test_ranking_linearly_runs_no_language_model_and_ranks_much_as_moved_prompts_do(model, told):
    users = [
        Known(events=told),
        Known(events=told[:1], attributes={"occupation": "farmer"}),
        Known(about="hm"),
        Known(),
    ]
    with count_forwards(model.engine.backbone) as sizes:
        found = model.rank_many(users, 60, exact=False)
    assert sizes == []
    exact = [model.rank(state, 60) for state in model.adapt_many(users, exact=True)]
    for ranking, wanted, user in zip(found, exact, users, strict=True):
        assert len(ranking) == 60 - len(user.events)
        assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
        places = {item: place for place, item in enumerate(wanted.items)}
        assert np.corrcoef([places[item] for item in ranking.items], range(len(ranking)))[0, 1] > 0.9
    assert found[0].items != found[3].items[: len(found[0])]
    alone = [model.rank_many([user], 5)[0].items for user in users]
    assert alone == [ranking.items[:5] for ranking in found]
    assert model.rank_many([]) == []


def test_ranking_linearly_takes_candidates_and_refuses_what_ranking_refuses(model, told):
    some = model.items[1:60:7]
    (ranking,) = model.rank_many([Known(events=told)], candidates=some)
    assert set(ranking.items) == set(some) - {event.item for event in told}
    with pytest.raises(BadInputError, match="whole number of items"):
        model.rank_many([Known()], 0)
    with pytest.raises(UnknownNameError, match="user 1, item of event 0"):
        model.rank_many([Known(), Known(events=[Event(item="nothing")])])


def test_nothing_in_the_path_writes_to_the_frozen_weights(model, told):
    before = hash_weights(model.engine.backbone.model)
    model.observe(model.adapt(told, about="anything"), told[0])
    assert hash_weights(model.engine.backbone.model) == before


def test_threads_may_share_a_model(model, told):
    texts = [f"person number {number}" for number in range(12)]
    alone = [model.adapt(told, about=text).to_bytes() for text in texts]
    fresh = replace(model, texts=type(model.texts)(size=3))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: fresh.adapt(told, about=text).to_bytes(), texts))
    assert together == alone


def test_a_state_of_another_model_is_refused(model, told):
    other = replace(model.adapt(told), model_hash="0" * 64)
    for use in (model.rank, lambda state: model.observe(state, told[0])):
        with pytest.raises(MismatchError, match="adapt the user again"):
            use(other)
    with pytest.raises(BadInputError):
        model.rank(b"WPUS")


def test_a_stored_state_works_in_a_model_opened_anew(model, told, trained_folder):
    data = model.adapt(told, about="x").to_bytes()
    again = load(trained_folder, clock=lambda: NOW_S)
    assert again.rank(UserState.from_bytes(data), 5) == model.rank(model.adapt(told, about="x"), 5)


@pytest.mark.parametrize(
    ("event", "error", "told"),
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
def test_a_wrong_event_is_refused_by_its_position(model, event, error, told):
    good = Event(item=model.items[0], rating=3.0, time_s=NOW_S)
    with pytest.raises(error) as caught:
        model.adapt([good, replace(good, **event)])
    assert told in caught.value.line()
    with pytest.raises(error, match="user 1, "):
        model.adapt_many([Known(), Known(events=[good, replace(good, **event)])])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"events": "i00001"}, "Give a list of warmprompt.Event."),
        ({"events": [("i00001", 5.0)]}, "event 0: \"('i00001', 5.0)\". Give warmprompt.Event("),
        ({"about": 3}, "about: '3'."),
        ({"about": "word " * 400}, "Shorten it: it has "),
        ({"attributes": {"age": 24}}, "attributes: 'age: 24'. Write names and values as text."),
        ({"attributes": [1]}, "Give a mapping"),
    ],
)
def test_something_else_that_is_told_of_a_user_is_refused(model, arguments, told):
    with pytest.raises(BadInputError) as caught:
        model.adapt(**arguments)
    assert told in caught.value.line()


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


@pytest.mark.parametrize("told", [{"about": "\udcff love"}, {"attributes": {"occupation": "\udcff"}}])
def test_text_that_is_no_text_is_refused(model, told):
    # Bytes of a command line that are not UTF-8 arrive so.
    with pytest.raises(BadInputError, match="as text"):
        model.adapt([], **told)


def test_linear_users_cost_no_pass_and_get_a_prompt_when_it_is_asked_for(model, told):
    assert model.engine.linear
    with count_forwards(model.engine.backbone) as sizes:
        state = model.observe(model.adapt(told[:-1], about="hm"), told[-1])
        model.rank(state, 5)
    assert sizes == []
    assert not state.has_prompt
    whole = model.with_prompt(state)
    assert whole.has_prompt
    assert whole.to_bytes() == model.adapt(told, about="hm", exact=True).to_bytes()
    assert model.with_prompt(whole) is whole
    assert model.observe(whole, told[0]).has_prompt


def test_opening_and_ranking_load_no_language_model(trained_folder):
    code = (
        "import sys, warmprompt; from warmprompt import Event;"
        f"model = warmprompt.load({str(trained_folder)!r});"
        "model.rank(model.adapt([Event(item=model.items[0], rating=5.0)]), 5);"
        "print('backbone' in model.engine.models._made, sorted(name for name in sys.modules if name in"
        " ('warmprompt.baselines', 'warmprompt.training', 'warmprompt.assembly')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "False []\n"
