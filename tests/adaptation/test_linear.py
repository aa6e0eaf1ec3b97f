"""The linear response: it runs no language model, and ranks much as moved prompts do."""

import subprocess
import sys

import numpy as np
import pytest

from warmprompt import Event, Known
from warmprompt.backbone.forward import count_forwards
from warmprompt.errors import BadInputError, UnknownNameError


def test_ranking_linearly_runs_no_language_model_and_ranks_much_as_moved_prompts_do(model, user_events):
    users = [
        Known(events=user_events),
        Known(events=user_events[:1], attributes={"occupation": "farmer"}),
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
        places = {item: index for index, item in enumerate(wanted.items)}
        assert np.corrcoef([places[item] for item in ranking.items], range(len(ranking)))[0, 1] > 0.9
    assert found[0].items != found[3].items[: len(found[0])]
    alone = [model.rank_many([user], 5)[0].items for user in users]
    assert alone == [ranking.items[:5] for ranking in found]
    assert model.rank_many([]) == []


def test_ranking_linearly_takes_candidates_and_refuses_what_ranking_refuses(model, user_events):
    some = model.items[1:60:7]
    (ranking,) = model.rank_many([Known(events=user_events)], candidates=some)
    assert set(ranking.items) == set(some) - {event.item for event in user_events}
    with pytest.raises(BadInputError, match="whole number of items"):
        model.rank_many([Known()], 0)
    with pytest.raises(UnknownNameError, match="user 1, item of event 0"):
        model.rank_many([Known(), Known(events=[Event(item="nothing")])])


def test_linear_users_cost_no_pass_and_get_a_prompt_when_it_is_asked_for(model, user_events):
    assert model.engine.linear
    with count_forwards(model.engine.backbone) as sizes:
        state = model.observe(model.adapt(user_events[:-1], about="hm"), user_events[-1])
        model.rank(state, 5)
    assert sizes == []
    assert not state.has_prompt
    whole = model.with_prompt(state)
    assert whole.has_prompt
    assert whole.to_bytes() == model.adapt(user_events, about="hm", exact=True).to_bytes()
    assert model.with_prompt(whole) is whole
    assert model.observe(whole, user_events[0]).has_prompt


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
