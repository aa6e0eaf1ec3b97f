"""The control in which items have the texts of other items, and what the product sees of tested users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evidence.jobs import missing_jobs
from warmprompt.evidence.models import controlled, with_texts_of_others
from warmprompt.evidence.plan import ModelSpec, read_plan
from warmprompt.evidence.product import Product, product_settings


def test_item_rows_move_and_events_stay(data_name):
    planted = open_dataset(ensure_dataset(data_name))
    moved = with_texts_of_others(planted, 1)
    assert moved.interactions is planted.interactions
    assert moved.item_ids == planted.item_ids
    titles = planted.items["title"].to_list()
    assert moved.items["title"].to_list() != titles
    assert sorted(moved.items["title"].to_list()) == sorted(titles)
    rows = dict(zip(titles, planted.items.rows(), strict=True))
    assert all(rows[row[planted.items.columns.index("title")]] == row for row in moved.items.rows())
    assert with_texts_of_others(planted, 1).items.equals(moved.items)


def test_a_model_is_fitted_on_them(data_name):
    planted = open_dataset(ensure_dataset(data_name))

    class Echo:
        name, num_parameters, seen = "echo", 0, ()

        def fit(self, training, validation, *, seed):
            self.seen = (training.items, validation.items)
            return self

    fitted = controlled(Echo(), "titles").fit(planted, planted, seed=3)
    expected = with_texts_of_others(planted, 3).items
    assert all(items.equals(expected) for items in fitted.inner.seen)


def test_shuffled_titles_need_their_own_fit(raw, data_name, tmp_path):
    raw["models"] = [
        {"name": "ours"},
        {"name": "titles", "shuffle": "titles"},
        {"name": "supports", "shuffle": "supports"},
    ]
    raw["tables"][0] |= {"models": ["ours", "titles", "supports"], "seeds": [0], "compare": []}
    ours, titles, supports = missing_jobs(read_plan(raw), tmp_path)
    assert len({job.cells[0].key for job in (ours, titles, supports)}) == 3
    assert ours.fit == supports.fit != titles.fit


def with_arrivals(dataset):
    """Return the data set with users who come one after another, five seconds apart, an event a second."""
    events = dataset.interactions
    lengths_U = np.diff(events.offsets)
    within_E = np.arange(len(events)) - np.repeat(events.offsets[:-1], lengths_U)
    times_s = within_E + 5 * np.repeat(np.arange(len(lengths_U)), lengths_U)
    return replace(dataset, interactions=replace(events, times_s=times_s))


@pytest.mark.parametrize(
    "protocol",
    [
        ProtocolSettings(ks=(0, 3)),
        ProtocolSettings(protocol="temporal", ks=(0, 3)),
        ProtocolSettings(protocol="cold-item", reading="mixed", ks=(0, 3)),
    ],
    ids=lambda protocol: protocol.label,
)
def test_hidden_events_do_not_change_rankings(protocol, data_name, tiny_product, tmp_path):
    """It is handed the whole data set, for its texts: no event in it must matter, but those of training.

    Gone are tested users, and what training does not see of others: events of hidden items, or later ones.
    """
    planted = with_arrivals(open_dataset(ensure_dataset(data_name)))
    task = build_task(planted, protocol, seed=1)
    # Under the same name and hash: nothing but events is gone.
    without = replace(task.training, name=planted.name, content_hash=planted.content_hash)
    assert len(without.interactions) < len(planted.interactions)
    supports = [case.support for cases in task.cases.values() for case in cases[:8]]
    spec = ModelSpec(name="ours", assignments=(*tiny_product, "experts.use=user_posterior"))
    settings = product_settings(spec, dataset=data_name, seed=1)
    scores = []
    for number, dataset in enumerate((planted, without)):
        product = Product(settings=settings, folder=tmp_path / str(number), dataset=dataset)
        fitted = product.fit(task.training, task.validation, seed=1)
        scores.append(fitted.score(supports))
    assert np.isfinite(scores[0]).all()
    np.testing.assert_array_equal(*scores)
