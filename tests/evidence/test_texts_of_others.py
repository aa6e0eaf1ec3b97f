"""The control in which items have the texts of other items, and what the product is told of tested users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from warmprompt.data.dataset import take_users
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evidence.jobs import missing_jobs
from warmprompt.evidence.models import OtherTexts, with_texts_of_others
from warmprompt.evidence.plan import ModelSpec, read_plan
from warmprompt.evidence.product import Product, product_settings


def test_rows_of_items_move_together_and_events_stay(data_name):
    planted = open_dataset(ensure_dataset(data_name))
    moved = with_texts_of_others(planted, seed=1)
    assert moved.interactions is planted.interactions
    assert moved.item_ids == planted.item_ids
    titles = planted.items["title"].to_list()
    assert moved.items["title"].to_list() != titles
    assert sorted(moved.items["title"].to_list()) == sorted(titles)
    rows = dict(zip(titles, planted.items.rows(), strict=True))
    assert all(rows[row[planted.items.columns.index("title")]] == row for row in moved.items.rows())
    assert with_texts_of_others(planted, seed=1).items.equals(moved.items)


def test_a_model_is_fitted_on_them(data_name):
    planted = open_dataset(ensure_dataset(data_name))

    class Echo:
        name, num_parameters, seen = "echo", 0, ()

        def fit(self, training, validation, *, seed):
            self.seen = (training.items, validation.items)
            return self

    fitted = OtherTexts(inner=Echo()).fit(planted, planted, seed=3)
    expected = with_texts_of_others(planted, seed=3).items
    assert all(items.equals(expected) for items in fitted.inner.seen)


def test_other_texts_are_another_fit_and_another_users_events_are_not(told, data_name, tmp_path):
    told["models"] = [
        {"name": "ours"},
        {"name": "titles", "shuffle": "titles"},
        {"name": "supports", "shuffle": "supports"},
    ]
    told["tables"][0] |= {"models": ["ours", "titles", "supports"], "seeds": [0], "compare": []}
    ours, titles, supports = missing_jobs(read_plan(told), tmp_path)
    assert len({job.cells[0].key for job in (ours, titles, supports)}) == 3
    assert ours.fit == supports.fit != titles.fit


def test_the_product_ranks_alike_whatever_the_tested_users_did(data_name, tiny_product, tmp_path):
    """It is handed the whole data set, for its texts: events of tested users in it must not matter."""
    planted = open_dataset(ensure_dataset(data_name))
    task = build_task(planted, ProtocolSettings(ks=(0, 3)), seed=1)
    trained = [*task.training.user_ids, *task.validation.user_ids]
    without = take_users(planted, np.array([planted.user_ids.index(user) for user in trained]))
    # Under the same name and hash: nothing but the tested users is gone.
    without = replace(without, content_hash=planted.content_hash)
    supports = [case.support for cases in task.cases.values() for case in cases[:8]]
    spec = ModelSpec(name="ours", assignments=tiny_product)
    settings = product_settings(spec, dataset=data_name, seed=1)
    scores = []
    for number, dataset in enumerate((planted, without)):
        product = Product(settings=settings, folder=tmp_path / str(number), dataset=dataset)
        fitted = product.fit(task.training, task.validation, seed=1)
        scores.append(fitted.score(supports))
    np.testing.assert_array_equal(*scores)
