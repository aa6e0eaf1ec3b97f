"""Texts of events on their way to a model: checked, named where they cannot be, and absent where blank."""

import numpy as np
import pytest

from warmprompt import Event
from warmprompt.adaptation.events import checked_events, support_of
from warmprompt.errors import BadInputError
from warmprompt.types import MAX_TEXT

INDEX = {"a": 0, "b": 1, "c": 2}


def checked(*events):
    return checked_events(events, index=INDEX, scale=None, weighted=False, now_s=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (7, "text of event 1: '7'. Give what the user wrote, as text"),
        (b"good", "text of event 1.*as text"),
        ("half \ud83d", "text of event 1.*as text"),
        ("x" * (MAX_TEXT + 1), "text of event 1: '?5,001 characters'?. Give at most 5,000 characters"),
    ],
)
def test_a_text_that_cannot_be_is_named(text, message):
    with pytest.raises(BadInputError, match=message):
        checked(Event(item="a"), Event(item="b", text=text))


def test_the_longest_text_and_odd_characters_pass():
    texts = ("🦆" * MAX_TEXT, "\x00\n", "\u202e")
    events = [Event(item=item, text=text) for item, text in zip("abc", texts, strict=True)]
    assert [one.text for one in checked(*events)] == list(texts)


def test_a_support_has_the_text_of_each_event():
    events = checked(Event(item="c", text=" loud "), Event(item="a"), Event(item="b", text=" \n"))
    support = support_of(events, index=INDEX, weight_unit=None)
    assert support.items_K.tolist() == [2, 0, 1]
    assert support.texts_K == ("loud", None, None)


def test_a_support_without_texts_has_none():
    events = checked(Event(item="c"), Event(item="b", text=" \t"))
    assert support_of(events, index=INDEX, weight_unit=None).texts_K is None


def test_numpy_texts_become_plain_ones():
    (event,) = checked(Event(item="a", text=np.str_("loud")))
    assert type(event.text) is str
