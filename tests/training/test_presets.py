"""Presets by the data's density: what is counted, what is taken, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.data.synthetic import Knobs, planted_world
from warmprompt.settings import Density, load_settings
from warmprompt.training.presets import density_of, preset_line, settled


def world(*, num_users=30, num_items=150, least=2, most=9):
    knobs = Knobs(min_events=least, max_events=most)
    return planted_world(num_users=num_users, num_items=num_items, num_tastes=3, seed=0, knobs=knobs).dataset


def test_density_counts_users_and_items_that_have_events():
    data = world()
    lengths = [len(data.interactions.items[data.interactions.events_of(user)]) for user in range(30)]
    events = data.interactions
    # Five more users, none of whom has an event.
    padded = replace(
        data,
        user_ids=(*data.user_ids, *"abcde"),
        interactions=replace(events, offsets=np.append(events.offsets, [events.offsets[-1]] * 5)),
    )
    assert density_of(padded) == Density(
        num_users=30,
        num_items=len(set(events.items.tolist())),
        num_events=sum(lengths),
        median_per_user=sorted(lengths)[14] / 2 + sorted(lengths)[15] / 2,
    )


@pytest.mark.parametrize(("least", "most", "expected"), [(2, 9, "sparse"), (30, 40, "dense-small")])
def test_the_density_of_the_data_chooses(least, most, expected):
    data = world(least=least, most=most)
    asked = load_settings(assignments=["train.batch_size=64"])
    settings = settled(asked, data)
    assert settings.train.preset == expected
    line = preset_line(asked, settings, data)
    assert line.startswith(
        f"preset: {expected} (median {density_of(data).median_per_user:g} events per user, "
    )
    assert ("given otherwise: train.batch_size" in line) == (expected == "sparse")
    assert settled(settings, data) == settings


def test_a_preset_that_is_asked_for_stands_whatever_the_density():
    data = world()
    asked = load_settings(assignments=["train.preset=dense"])
    settings = settled(asked, data)
    assert (settings.train.preset, settings.model.factor_regularization) == ("dense", 100.0)
    assert preset_line(asked, settings, data).startswith("preset: dense (as asked; median")


def test_a_small_catalogue_gets_no_more_factors_than_items():
    data = world(num_items=20)
    asked = load_settings()
    settings = settled(asked, data)
    assert settings.model.num_factors == 20
    assert preset_line(asked, settings, data).endswith("; 20 factors, as many as items")
    given = load_settings(assignments=["model.num_factors=25"])
    assert settled(given, data).model.num_factors == 25  # refused later, by name
