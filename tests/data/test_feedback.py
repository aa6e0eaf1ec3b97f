"""What feedback columns mean: labels, strengths, types of events, "not rated", and what is no scale."""

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.source import FeedbackOptions
from warmprompt.errors import BadInputError, RejectsError

MAP = {"user": "u", "item": "i"}


@pytest.fixture
def feedback_of(write, bring_in):
    """Import values of one column under a name of ours: (ratings, weights, manifest), in order."""

    def run(name, values, *, scale=None, users=None, items=None, **options):
        users = users or [f"u{index // 10}" for index in range(len(values))]
        items = items or [f"i{index % 10}" for index in range(len(values))]
        rows = "".join(f'{u},{i},"{value}"\n' for u, i, value in zip(users, items, values, strict=True))
        path = write("f", {"e.csv": f"u,i,v\n{rows}"}) / "e.csv"
        source = read_mapped(MappedFile(path=path, mapping={**MAP, name: "v"}), rating_scale=scale)
        source = replace(source, feedback=FeedbackOptions(**options))
        dataset, manifest = bring_in(source)
        events = dataset.interactions
        return events.ratings, events.weights, manifest

    return run


@pytest.mark.parametrize(
    ("values", "num"),
    [
        (["1", "0", "0", "1"], 2),
        (["1.0", "0.0", "0.0", "0.0"], 3),
        (["True", "False", "true", "FALSE"], 2),
        (["yes", "no", "Yes", "n"], 2),
    ],
)
def test_a_label_of_zero_is_no_event(feedback_of, values, num):
    ratings, weights, manifest = feedback_of("label", values)
    assert ratings is None
    assert weights is None
    assert manifest.num_events == 4 - num
    assert manifest.rejects == ()
    assert manifest.understood.no_events == {"label 0": num}
    assert (manifest.understood.num_pull, manifest.understood.num_push) == (4 - num, 0)


@pytest.mark.parametrize("values", [["1", "2", "0"], ["1", "-1", "1"], ["1", "", "1"], ["1", "maybe", "0"]])
def test_a_label_is_zero_or_one(feedback_of, values):
    with pytest.raises(RejectsError, match="1 x label is"):
        feedback_of("label", values)


def test_nothing_but_zeros_is_no_data_set(feedback_of):
    with pytest.raises(BadInputError, match=r"no event \(3 x label 0\)"):
        feedback_of("label", ["0", "0", "0"])


def test_ratings_of_zero_and_one_are_labels_and_reported(feedback_of):
    ratings, _, manifest = feedback_of("rating", ["0", "1", "0", "1", "1"])
    assert ratings is None
    assert (manifest.num_events, manifest.rating_scale) == (3, None)
    assert manifest.understood.no_events == {"rating 0": 2}
    assert "--rating-scale 0,1" in manifest.understood.notes[0]


def test_ratings_of_zero_and_one_on_a_scale_that_is_given_push(feedback_of):
    ratings, _, manifest = feedback_of("rating", ["0", "1", "0", "1", "1"], scale=(0, 1))
    assert sorted(ratings) == [0, 0, 1, 1, 1]
    assert (manifest.understood.num_pull, manifest.understood.num_push) == (3, 2)


COUNTS = [1] * 60 + [2] * 20 + [3] * 9 + [5] * 5 + [9] * 3 + [14] * 2 + [17]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (list(range(1, 22)), "21 different values"),
        (list(range(101)), "101 different values from 0 to 100"),
        (COUNTS, "as counts are"),
        ([1] * 80 + [2] * 12 + [3] * 5 + [4] * 2 + [5], "as counts are"),
        ([value / 7 for value in range(50)], "50 different values"),
        (list(np.random.default_rng(0).normal(0, 4, 60).round(2)), "different values"),
    ],
)
def test_what_is_no_scale_is_refused_with_both_remedies(feedback_of, values, said):
    with pytest.raises(BadInputError) as caught:
        feedback_of("rating", values)
    assert said in caught.value.line()
    assert "as weight" in caught.value.line()
    assert f"--rating-scale {min(values):g},{max(values):g}" in caught.value.line()


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4, 5] * 4,
        [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5] * 2,
        [1] * 3 + [2] + [3] * 2 + [4] * 6 + [5] * 20,  # most like what they chose
        [1] * 8 + [2] * 3 + [3] * 2 + [4] * 3 + [5] * 4,  # complaints: low, but not thinning out
        list(range(1, 11)) * 2,
        [-2, -1, 0, 1, 2] * 3,
        list(range(0, 101, 10)) * 2,
        [1, 2],
    ],
)
def test_a_scale_is_a_scale_without_a_note(feedback_of, values):
    ratings, _, manifest = feedback_of("rating", values)
    assert sorted(ratings) == pytest.approx(sorted(values))
    assert manifest.rating_scale == (min(values), max(values))
    assert manifest.understood.notes == ()
    cut = min(values) + 0.25 * (max(values) - min(values))
    assert manifest.understood.num_push == sum(value < cut for value in values)


def test_a_scale_that_is_given_is_believed(feedback_of):
    values = list(range(101))
    ratings, _, manifest = feedback_of("rating", values, scale=(0, 100))
    assert sorted(ratings) == values
    assert manifest.understood.num_push == 25


@pytest.mark.parametrize(
    ("values", "low"),
    [
        ([0] * 45 + [5] * 20 + [7] * 15 + [8] * 10 + [10] * 10, "0"),
        ([0] * 62 + list(range(1, 11)) * 4, "0"),
        ([-1] * 20 + list(range(1, 11)) * 8, "-1"),
        ([-1] * 3 + [6, 7, 8, 9, 10] * 10, "-1"),
        ([0] * 40 + [1, 2, 3, 4, 5] * 6, "0"),
        ([99] * 30 + [1, 2, 3, 4, 5] * 6, "99"),
    ],
)
def test_a_heap_at_an_end_is_reported_and_can_be_named(feedback_of, values, low):
    _, _, manifest = feedback_of("rating", values)
    (note,) = manifest.understood.notes
    assert f"--not-rated {low}" in note
    ratings, _, manifest = feedback_of("rating", values, not_rated=(low,))
    assert manifest.num_events == len(values)
    assert np.isnan(ratings).sum() == values.count(int(low)) == manifest.understood.num_not_rated
    assert manifest.understood.notes == ()
    assert float(low) not in manifest.rating_scale


@pytest.mark.parametrize("named", [("-1", "99"), (" -1.0", "99.00"), ("-1", "99", "n/r")])
def test_several_values_may_mean_not_rated(feedback_of, named):
    values = ["-1", "99", "3", "4", "5"] + (["N/R"] if "n/r" in named else [])
    ratings, _, manifest = feedback_of("rating", values, not_rated=named)
    assert np.isnan(ratings).sum() == len(values) - 3
    assert manifest.rating_scale == (3, 5)
    assert manifest.rejects == ()


def test_counts_are_strengths_on_a_log_scale(feedback_of):
    _, weights, manifest = feedback_of("weight", [1, 3, 1000, 7, ""])
    assert weights[:4].tolist() == [1, 3, 1000, 7]
    assert np.isnan(weights[4])
    assert manifest.weight_unit == 5  # the middle of 3 and 7
    assert (manifest.understood.num_pull, manifest.understood.num_push) == (5, 0)


def test_a_weight_of_zero_is_no_event_and_a_negative_one_is_refused(feedback_of):
    _, weights, manifest = feedback_of("weight", [2, 0, 4])
    assert weights.tolist() == [2, 4]
    assert manifest.understood.no_events == {"weight 0": 1}
    with pytest.raises(RejectsError, match=r"weight is negative.*map values of both signs as rating"):
        feedback_of("weight", [2, -1, 4])


def test_equal_weights_say_nothing_and_are_reported(feedback_of):
    _, weights, manifest = feedback_of("weight", [3, 3, 3])
    assert weights is None
    assert manifest.weight_unit is None
    assert manifest.understood.notes == ("every weight is 3: all events count the same",)


TYPES = ["view"] * 5 + ["cart"] * 2 + ["purchase", "bounce"]


def test_types_of_events_have_the_weights_that_are_given(feedback_of):
    weights = {"view": 1.0, "cart": 3.0, "purchase": 5.0}
    ratings, found, manifest = feedback_of("event", TYPES, event_weights=weights)
    assert ratings is None
    assert found.tolist() == [1, 1, 1, 1, 1, 3, 3, 5]
    assert manifest.understood.no_events == {"event bounce": 1}
    assert (manifest.understood.num_pull, manifest.understood.num_push) == (8, 0)


def test_types_of_events_without_weights_and_weights_without_a_type_are_refused(feedback_of):
    with pytest.raises(BadInputError, match=r"view, cart.*--event-weights view=1,cart=2"):
        feedback_of("event", TYPES)
    with pytest.raises(BadInputError, match=r"purchse.*No row has that type; there are view, cart"):
        feedback_of("event", TYPES, event_weights={"view": 1.0, "purchse": 5.0})


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (TYPES, "--map event=COLUMN --event-weights view=1,cart=2"),
        (["like", "dislike", "like"], "--map event=COLUMN"),
        (["true", "false", "true"], "map the column as label"),
        (["4,5", "3,0", "2,5"], "Write numbers with a point"),
    ],
)
def test_ratings_in_words_are_refused_with_what_they_may_be(feedback_of, values, remedy):
    with pytest.raises(BadInputError, match="They are words, not numbers") as caught:
        feedback_of("rating", values)
    assert remedy in caught.value.line()


def test_repeats_are_kept_as_a_strength_on_demand(feedback_of):
    users, items = ["a"] * 4 + ["b"], ["x", "x", "y", "x", "x"]
    ratings, weights, manifest = feedback_of("rating", [1, 2, 3, 4, 5], users=users, items=items)
    assert weights is None
    assert manifest.num_duplicates == 2
    assert "--repeats count" in manifest.understood.notes[0]
    ratings, weights, manifest = feedback_of(
        "rating", [1, 2, 3, 4, 5], users=users, items=items, repeats="count"
    )
    assert ratings.tolist() == [3, 4, 5]  # y, then the last x of a; x of b
    assert weights.tolist() == [1, 3, 1]
    assert manifest.weight_unit == 1


@pytest.mark.parametrize(("repeats", "expected"), [(None, [4, 7]), ("count", [4, 7]), ("last", [4, 4])])
def test_weights_of_repeats_are_added_unless_the_last_one_is_asked_for(feedback_of, repeats, expected):
    _, weights, _ = feedback_of(
        "weight", [1, 2, 4, 4], users=["a"] * 4, items=["x", "x", "y", "x"], repeats=repeats
    )
    assert (weights is None and expected == [4, 4]) or weights.tolist() == expected


def test_a_refused_column_names_no_gap_between_its_many_values_as_not_rated(feedback_of):
    with pytest.raises(BadInputError) as refused:
        feedback_of("rating", [-9.5, *np.round(np.linspace(-7, 9.8, 200), 2)])
    assert "--not-rated" not in refused.value.remedy
    with pytest.raises(BadInputError, match="--not-rated 0"):
        feedback_of("rating", [0.0] * 80 + list(np.linspace(20, 100, 120)))
