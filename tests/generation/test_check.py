"""The reader of sentences believes every sentence of the grammar and no lie."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from warmprompt import Event
from warmprompt.adaptation.explain import Attribution, EventEffect, Neighbour, WordEffect
from warmprompt.generation.check import claims_of
from warmprompt.generation.facts import Facts, reasons_of
from warmprompt.generation.sentences import sentences_for, template_for

SCALE = (1.0, 5.0)
FACTS = Facts(
    genres={1: ("Drama", "War"), 2: ("Drama",), 3: ("Comedy and Crime", "War"), 4: (), 5: ("Western",)},
    popular=frozenset({1}),
)


def event(item, title, rating, effect):
    return EventEffect(event=Event(item=item, rating=rating), title=title, effect=effect, rank_without=9)


def word(text, effect, name=""):
    return WordEffect(
        kind="attribute" if name else "word", text=text, name=name, effect=effect, rank_without=9
    )


KNOWN = Attribution(
    item=1,
    title="Ran (1985)",
    score=2.0,
    rank=1,
    experts=(),
    events=(
        event(2, "Ikiru (1952)", 5.0, 1.0),
        event(3, "Fargo “Uncut” (1996)", 4.0, 0.9),
        event(4, "Jaws (1975)", 3.0, 0.8),
        event(5, "Shane (1953)", 1.0, 0.7),
        event(6, "Alien (1979)", 5.0, -0.5),
    ),
    words=(
        word("war", 0.6), word("artist", 0.5, "job"), word("dramas", 0.4), word("love", 0.3),
        word("westerns", -0.1),
    ),
    nearest=(Neighbour(item=2, title="Ikiru (1952)", similarity=0.9),),
)  # fmt: skip
BEGIN = "“Ran (1985)” is suggested because "


def is_true(sentence, attribution=KNOWN, facts=FACTS, scale=SCALE):
    return all(claim.holds for claim in claims_of(sentence, attribution, facts, scale))


@pytest.mark.parametrize(
    "said",
    [
        "you liked “Ikiru (1952)”.",
        'you liked “Ikiru (1952)” and “Fargo "Uncut" (1996)” and you wrote “war”.',
        "you gave “Jaws (1975)” 3 of 5 and you liked “Ikiru (1952)”.",
        "you liked “Ikiru (1952)” and you disliked “Shane (1953)”.",
        "your job is “artist” and you liked “Ikiru (1952)”.",
        "you liked “Ikiru (1952)” and it is popular; it is filed under Drama and War.",
        "you liked “Ikiru (1952)” and you wrote “war”; like “Ikiru (1952)”, it is filed under Drama.",
    ],
)
def test_what_is_so_is_believed(said):
    claims = claims_of(BEGIN + said, KNOWN, FACTS, SCALE)
    assert all(claim.holds for claim in claims), claims


@pytest.mark.parametrize(
    "said",
    [
        'you liked “Fargo "Uncut" (1996)”.',
        "you gave “Jaws (1975)” 3 of 5.",
        "you disliked “Shane (1953)”; it is filed under Drama.",
        "your job is “artist” and you wrote “war”.",
        "it is popular; it is filed under Drama and War.",
        "you wrote “war” and “dramas”; like “Ikiru (1952)”, it is filed under Drama.",
    ],
)
def test_sentence_without_the_largest_effect_is_refused(said):
    *claims, unsaid = claims_of(BEGIN + said, KNOWN, FACTS, SCALE)
    assert all(claim.holds for claim in claims)
    assert (unsaid.text, unsaid.holds) == ("“Ikiru (1952)” did most", False)


def test_every_sentence_names_the_largest_effect():
    most = {
        "“Ikiru (1952)”": KNOWN,
        "“war”": replace(KNOWN, words=(word("War", 1.1), *KNOWN.words)),
        "“artist”": replace(KNOWN, words=(word("artist", 1.1, "job"), *KNOWN.words)),
    }
    for largest, attribution in most.items():
        sentences = [*sentences_for(attribution, FACTS, SCALE), template_for(attribution, FACTS, SCALE)]
        assert len(sentences) > 1
        assert all(largest in re.split("”; ", sentence)[0] + "”" for sentence in sentences)


@pytest.mark.parametrize(
    "lie",
    [
        "you liked “Heat (1995)”.",  # never seen
        "you liked “Alien (1979)”.",  # liked, but it spoke against
        "you liked “Jaws (1975)”.",  # met
        "you disliked “Ikiru (1952)”.",  # liked
        "you gave “Jaws (1975)” 4 of 5.",  # another rating
        "you gave “Jaws (1975)” 3 of 10.",  # another scale
        "you wrote “westerns”.",  # spoke against
        "you wrote “robots”.",  # not written
        "you wrote “artist”.",  # an attribute
        "your job is “farmer”.",
        "your age is “artist”.",
        "you liked “Ikiru (1952)”; it is filed under Comedy.",
        "you liked “Ikiru (1952)”; like “Ikiru (1952)”, it is filed under War.",  # the other one is not
        "you liked “Ikiru (1952)”; like “Alien (1979)”, it is filed under Drama.",
        "you liked “Ikiru (1952)” and it won an Oscar.",  # not understood
        "you liked “Ikiru (1952)”. It is a masterpiece.",
        "you liked “Ikiru (1952)”; it is filed under Drama. Buy it.",
        "you liked “Ikiru (1952)”",  # cut short
        "you liked “Ikiru (1952)” and .",
        ".",
        "",
    ],
)
def test_a_lie_is_not(lie):
    assert not is_true(BEGIN + lie)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "Great film!",
        "“Heat (1995)” is suggested because you liked “Ikiru (1952)”.",
        "“Ran (1985)” won because you liked “Ikiru (1952)”.",
        "“Ran (1985)” comes up although nothing you gave speaks for it.",
    ],
)
def test_nor_is_a_sentence_about_something_else(sentence):
    assert not is_true(sentence)


def test_popularity_and_silence_are_claims_too():
    silent = replace(KNOWN, events=KNOWN.events[4:], words=KNOWN.words[4:])
    assert is_true("“Ran (1985)” comes up although nothing you gave speaks for it.", silent)
    assert is_true("“Ran (1985)” comes up because it is popular.", silent)
    unknown = replace(FACTS, popular=frozenset())
    assert not is_true("“Ran (1985)” comes up because it is popular.", silent, unknown)


def test_without_a_scale_every_event_is_liked_and_none_was_given():
    unrated = replace(KNOWN, events=(event(2, "Ikiru (1952)", None, 1.0),))
    assert is_true(BEGIN + "you liked “Ikiru (1952)”.", unrated, scale=None)
    assert not is_true(BEGIN + "you gave “Ikiru (1952)” 5 of 5.", unrated, scale=None)


names = st.text(st.sampled_from("ab “”\".;&'and is"), min_size=1, max_size=12).map(lambda text: f"T{text}")
effects = st.sampled_from([-1.0, 0.0, 0.0005, 0.2, 0.9, 1.0])


@st.composite
def attributions(draw):
    rows = draw(st.lists(st.tuples(names, st.sampled_from([1.0, 2.5, 4.0, 5.0, None]), effects), max_size=4))
    words = draw(st.lists(st.tuples(st.sampled_from(["war", "love", "Dramas", "é…à"]), effects), max_size=3))
    attributes = draw(st.lists(st.tuples(st.sampled_from(["job", "age"]), names, effects), max_size=2))
    events = [
        event(index, title, rating, effect) for index, (title, rating, effect) in enumerate(rows, start=2)
    ]
    said = [word(text, effect) for text, effect in words] + [
        word(text, effect, name) for name, text, effect in attributes
    ]
    genre = st.lists(
        st.sampled_from(["Drama", "Comedy and Crime", "Sci-Fi; other.", "A"]), max_size=3, unique=True
    )
    facts = Facts(
        genres={item: tuple(draw(genre)) for item in range(1, 6)},
        popular=frozenset({1}) if draw(st.booleans()) else frozenset(),
    )
    strongest = lambda one: -one.effect  # noqa: E731
    return (
        replace(
            KNOWN,
            title=draw(names),
            events=tuple(sorted(events, key=strongest)),
            words=tuple(sorted(said, key=strongest)),
        ),
        facts,
    )


@given(attributions(), st.sampled_from([SCALE, None]))
def test_every_sentence_of_the_grammar_is_true(drawn, scale):
    attribution, facts = drawn
    sentences = [*sentences_for(attribution, facts, scale), template_for(attribution, facts, scale)]
    assert len(sentences) > 1
    for sentence in sentences:
        claims = claims_of(sentence, attribution, facts, scale)
        assert all(claim.holds for claim in claims), (sentence, claims)


@pytest.mark.parametrize(
    "empty", [*sorted(ENGLISH_STOP_WORDS)[::7], "I'm", "it's", "wouldn't", "films", "watched"]
)
def test_stop_words_are_never_named(empty):
    only = replace(KNOWN, events=(), words=(word(empty, 0.9),))
    found = [*sentences_for(only, FACTS, SCALE), template_for(only, FACTS, SCALE)]
    assert not [sentence for sentence in found if f"“{empty.lower()}”" in sentence]
    assert reasons_of((), (word("noir", 0.1), word(empty, 0.9))).words == ("noir",)


def test_a_weak_effect_is_no_reason():
    found = reasons_of(
        (event(2, "A", 5.0, 1.0), event(3, "B", 5.0, 0.26), event(4, "C", 5.0, 0.24)),
        (word("love", 0.9), word("war", 0.3), word("War", 0.3), word("drama", 0.1)),
    )
    assert [one.title for one in found.events] == ["A", "B"]
    assert found.words == ("war",)
    # What says nothing is never named, nor does it hide a weaker reason.
    assert not reasons_of((), (word("love", 0.9), word("The", 0.8), word("don\u2019t", 0.7)))
    assert reasons_of((), (word("love", 0.9), word("drama", 0.1))).words == ("drama",)
    assert not reasons_of((event(2, "A", 5.0, 0.0009),), ())
