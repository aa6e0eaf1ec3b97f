"""Which items rankings hold: exclusions, filters, hidden items; and the items most like one."""

import numpy as np
import pytest

from warmprompt import Event, Known
from warmprompt.adaptation.selection import known_item, written_number
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, UnknownNameError


@pytest.fixture(scope="module")
def genre_of(planted_folder):
    """Return the planted genre of every item, read from the data set and not from the run."""
    data = open_dataset(planted_folder[0])
    return {item: genres[0] for item, genres in zip(data.item_ids, data.items["genres"], strict=True)}


@pytest.fixture(scope="module")
def state(model):
    return model.adapt([Event(item=item, rating=5.0) for item in model.items[:3]])


def rankings(model, state, **options):
    """Return the same ranking made in both ways, and those of `similar`."""
    everybody = [Known(events=state.events)]
    return (
        model.rank(state, 60, **options).items,
        model.rank_many(everybody, 60, **options)[0].items,
        model.similar(model.items[0], 60, **options).items,
    )


def test_excluded_items_are_left_out_and_all_others_keep_their_order(model, state):
    without = model.items[5:25]
    for whole, left in zip(rankings(model, state), rankings(model, state, exclude=without), strict=True):
        assert left == tuple(item for item in whole if item not in without)
        assert len(left) < len(whole)


def test_a_filter_leaves_the_items_with_the_attribute_in_their_order(model, state, genre_of):
    first, second = sorted(set(genre_of.values()))[:2]
    for wanted, genres in (
        ({"genres": first.upper()}, {first}),
        ({"genres": [first, second]}, {first, second}),
    ):
        for whole, left in zip(rankings(model, state), rankings(model, state, filter=wanted), strict=True):
            assert left == tuple(item for item in whole if genre_of[item] in genres)
            assert left


def test_candidates_exclusions_and_filters_work_together(model, state, genre_of):
    genre = genre_of[model.items[9]]
    candidates, without = model.items[5:40], [model.items[9]]
    options = {"candidates": candidates, "exclude": without, "filter": {"genres": genre}}
    for whole, left in zip(rankings(model, state), rankings(model, state, **options), strict=True):
        kept = {item for item in candidates if genre_of[item] == genre} - set(without)
        assert left == tuple(item for item in whole if item in kept)


def test_a_filter_that_leaves_nothing_gives_an_empty_ranking(model, state, genre_of):
    genre = genre_of[model.items[0]]
    others = [item for item in model.items if genre_of[item] != genre]
    options = {"candidates": others, "filter": {"genres": genre}}
    assert rankings(model, state, **options) == ((), (), ())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"exclude": ["nothing"]}, UnknownNameError, "excluded item: 'nothing'"),
        ({"exclude": "i00001"}, BadInputError, "list of item ids"),
        ({"exclude": [True]}, UnknownNameError, "excluded item"),
        ({"filter": {"genre": "x"}}, UnknownNameError, "Attributes of the items: genres"),
        ({"filter": {"genres": "nothing"}}, UnknownNameError, "filter genres: 'nothing'. Its values: "),
        ({"filter": "genres=x"}, BadInputError, "Write it as"),
    ],
)
def test_a_selection_that_cannot_be_is_refused_by_every_ranking(model, state, options, error, message):
    for rank in (
        lambda: model.rank(state, **options),
        lambda: model.rank_many([Known()], **options),
        lambda: model.similar(model.items[0], **options),
    ):
        with pytest.raises(error, match=message):
            rank()


def test_numpy_ids_are_ids(model, state):
    without = np.array(model.items[5:8])
    assert not set(without.tolist()) & set(model.rank(state, 60, exclude=without).items)


def test_hidden_items_are_in_no_ranking_until_they_are_shown(model, state):
    away = model.items[4:9]
    hiding = model.hide(away).hide([model.items[4]])
    for whole, left in zip(rankings(model, state), rankings(hiding, state), strict=True):
        assert left == tuple(item for item in whole if item not in away)
    assert rankings(hiding, state, candidates=away) == ((), (), ())
    assert hiding.hidden == set(away)
    assert model.hidden == frozenset()
    back = hiding.show([*away[1:], model.items[20]])
    assert back.hidden == {away[0]}
    assert rankings(back.show(away), state) == rankings(model, state)


def test_users_may_have_events_with_hidden_items(model):
    events = [Event(item=item, rating=5.0) for item in model.items[:3]]
    hiding = model.hide(model.items[:3])
    assert hiding.adapt(events).to_bytes() == model.adapt(events).to_bytes()
    assert hiding.find(model.title(model.items[1])) == model.items[1]
    assert hiding.similar(model.items[1]).items


def test_hiding_shares_the_model(model):
    hiding = model.hide([model.items[0]])
    assert hiding.engine is model.engine
    assert hiding.model_hash == model.model_hash


def test_only_items_of_the_catalogue_are_hidden(model):
    for change in (model.hide, model.show):
        with pytest.raises(UnknownNameError, match="'nothing'"):
            change(["nothing"])


def test_similar_items_are_those_with_the_highest_cosine(model):
    params, constants = model.engine.trained.params, model.engine.trained.data
    vectors_VD = params["items.learned"].double() * constants.warm_V[:, None].double()
    vectors_VD = (vectors_VD + constants.item_text_VX.double() @ params["items.text_map"].double()).numpy()
    assert bool((constants.warm_V > 0).all())
    units_VD = vectors_VD / np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    for position in (0, 17, 59):
        cosines_V = units_VD @ units_VD[position]
        expected = [item for item in np.argsort(-cosines_V) if item != position][:5]
        found = model.similar(model.items[position], 5)
        assert found.items == tuple(model.items[item] for item in expected)
        assert found.scores == pytest.approx(cosines_V[expected], abs=1e-5)


def test_similar_items_share_the_planted_genre(model, genre_of):
    # Four tastes: by chance a quarter of the five nearest would share it.
    shared = [
        genre_of[near] == genre_of[item] for item in model.items for near in model.similar(item, 5).items
    ]
    assert np.mean(shared) > 0.8


@pytest.mark.parametrize("item", ["nothing", 5, True, None, ["i00001"]])
def test_similar_to_an_unknown_item_is_refused(model, item):
    with pytest.raises(UnknownNameError, match="item: "):
        model.similar(item)


INDEX = {5: 0, 9007199254741011: 1, 2**70: 2, -3: 3, 0: 4}
TEXTS = {"5": 0, "05": 1, "a": 2, str(2**70): 3}


@pytest.mark.parametrize(
    ("given", "index", "expected"),
    [
        (5, INDEX, 5),
        ("5", INDEX, 5),
        ("05", INDEX, None),
        ("5.0", INDEX, None),
        ("+5", INDEX, None),
        (" 5", INDEX, None),
        ("\u0665", INDEX, None),
        ("-3", INDEX, -3),
        ("-0", INDEX, None),
        ("0", INDEX, 0),
        ("9007199254741011", INDEX, 9007199254741011),
        ("9007199254741012", INDEX, None),
        (str(2**70), INDEX, 2**70),
        ("9" * 100_000, INDEX, None),
        (5, TEXTS, "5"),
        ("05", TEXTS, "05"),
        (2**70, TEXTS, str(2**70)),
        ("", TEXTS, None),
        (5, {"5": 0, 5: 1}, 5),
        ("5", {"5": 0, 5: 1}, "5"),
    ],
)
def test_an_id_as_number_or_text_means_the_item_of_that_spelling(given, index, expected):
    found = known_item(given, index)
    assert found == expected
    assert type(found) is type(expected)


def test_a_number_has_one_plain_way_to_be_written():
    assert [written_number(text) for text in ("-", "", "--1", "1_0", "1e3")] == [None] * 5
