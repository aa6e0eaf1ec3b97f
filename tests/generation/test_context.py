"""What the language model reads: the user's prompt among the user's words, and nobody can end a message."""

from dataclasses import replace

import pytest
import torch

from warmprompt import Event
from warmprompt.errors import MismatchError
from warmprompt.generation.context import opinion, spoken, tastes_of, user_context


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Usual Suspects, The (1995)", "The Usual Suspects"),
        ("Postino, Il (1994)", "Il Postino"),
        ("Avventura, L' (1960)", "L'Avventura"),
        ("Toy Story (1995)", "Toy Story"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey"),
        ("1984", "1984"),
        ("(1999)", "(1999)"),
        ("Paris, Texas (1984)", "Paris, Texas"),
        ("  Two   spaces ", "Two spaces"),
    ],
)
def test_titles_as_people_say_them(title, said):
    assert spoken(title) == said


@pytest.mark.parametrize(
    ("rating", "scale", "said"),
    [
        (5.0, (1.0, 5.0), "liked"), (4.0, (1.0, 5.0), "liked"), (3.0, (1.0, 5.0), "met"),
        (2.0, (1.0, 5.0), "met"), (1.0, (1.0, 5.0), "disliked"), (None, (1.0, 5.0), "liked"),
        (3.0, None, "liked"), (0.0, (0.0, 100.0), "disliked"),
    ],
)  # fmt: skip
def test_what_a_rating_says(rating, scale, said):
    assert opinion(Event(item=1, rating=rating), scale) == said


def test_tastes_are_the_latest_events_by_opinion(model):
    events = [
        Event(item=item, rating=rating)
        for item, rating in zip(model.items, [5.0, 1.0, 3.0] * 10, strict=False)
    ]
    found = tastes_of(model, model.adapt(events))
    assert found.liked == tuple(spoken(model.title(event.item)) for event in events[0::3])
    assert found.disliked == tuple(spoken(model.title(event.item)) for event in events[1::3])


def position_of(context_TH, prompt_PH):
    width = len(prompt_PH)
    return [
        index
        for index in range(len(context_TH) - width + 1)
        if torch.equal(context_TH[index : index + width], prompt_PH)
    ]


def test_the_users_own_prompt_stands_behind_the_words_about_them(lm, model):
    state = model.adapt([Event(item=model.items[3], rating=5.0)], about="robots please")
    read = model.engine.trained.readout
    offsets_PH = model.with_prompt(state).offsets_PH
    own_PH = read.reference_PH + read.unit * torch.tensor(offsets_PH)
    before = len(lm.ids("About this person: robots please"))
    assert position_of(user_context(lm, model, state, task="Say."), own_PH) == [before]
    assert position_of(user_context(lm, model, state, task="Say.", steered=False), read.reference_PH) == [
        before
    ]
    assert not torch.equal(own_PH, read.reference_PH)
    nobody = user_context(lm, model, None, task="Say.")
    assert position_of(nobody, read.reference_PH) == [len(lm.ids("About this person: "))]


def test_a_state_of_another_model_is_refused(lm, model):
    foreign = replace(model.adapt([]), model_hash="0" * 64)
    with pytest.raises(MismatchError, match="adapt the user again"):
        user_context(lm, model, foreign, task="Say.")


@pytest.mark.parametrize("mark", ["<eos>", "<bos>", "<pad>"])
def test_marks_in_a_text_are_letters_to_the_model(lm, mark):
    special = set(lm.tokenizer.all_special_ids)
    assert not special & set(lm.ids(f"I like {mark} a lot"))
    assert lm.tokenizer.decode(lm.ids(f"a{mark}b")) == f"a{mark}b"


def test_a_chat_is_opened_and_closed_by_the_models_own_marks(lm, model, monkeypatch):
    plain = user_context(lm, model, None, task="Say.")
    chat = "{% for m in messages %}<bos>{{ m['role'] }}:{{ m['content'] }}<eos>{% endfor %}<bos>assistant:"
    monkeypatch.setattr(lm.tokenizer, "chat_template", chat)
    found = user_context(lm, model, None, task="Say.")
    head = lm.embed(lm.tokenizer("<bos>system:", add_special_tokens=False)["input_ids"])
    tail = lm.embed(lm.tokenizer("Say.<eos><bos>assistant:", add_special_tokens=False)["input_ids"])
    assert torch.equal(found[: len(head)], head)
    assert torch.equal(found[-len(tail) :], tail)
    assert len(found) > len(plain)
