"""The RecTools model against RecTools itself: its cross-validation, its tables, its way of saving.

Runs where RecTools is installed; `benchmarks/rectools_model.py` runs it in an environment of its own.
"""

import numpy as np
import pytest

pytest.importorskip("rectools", reason="RecTools is not installed: see benchmarks/rectools_model.py")

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.exceptions import NotFittedError
from rectools.metrics import NDCG, CoveredUsers, HitRate, MeanInvUserFreq
from rectools.model_selection import LastNSplitter, cross_validate
from rectools.models import PopularModel, model_from_config

from warmprompt import Event
from warmprompt.data.synthetic import planted_world
from warmprompt.errors import BadInputError
from warmprompt.integrations.rectools import WarmpromptModel, dataset_from_rectools

pytestmark = pytest.mark.usefixtures("text_home")

K = 10
SETTINGS = {
    "backbone.num_layers": 2,
    "backbone.item_text": ["tiny-encoder"],
    "backbone.user_text": "tiny-encoder",
    "model.num_factors": 8,
    "model.wordings": 1,
    "train.tangent_epochs": 15,
    "train.max_support": 10,
    "train.batch_size": 32,
    "train.threads": 1,
}


def small_model(**more):
    return WarmpromptModel(backbone="tiny", settings=SETTINGS, **more)


@pytest.fixture(scope="module")
def world():
    return planted_world(num_users=150, num_items=60, num_tastes=4, seed=0)


def frames(world, *, weight=1.0):
    data = world.dataset
    events = data.interactions
    users = np.repeat(data.user_ids, np.diff(events.offsets))
    interactions = pd.DataFrame(
        {
            Columns.User: users,
            Columns.Item: [data.item_ids[item] for item in events.items],
            Columns.Weight: weight if weight is not None else events.ratings,
            Columns.Datetime: pd.to_datetime(events.times_s, unit="s"),
        }
    )
    items = data.items.to_pandas()
    features = [
        (item, "genres", genre)
        for item, row in zip(data.item_ids, items["genres"], strict=True)
        for genre in row
    ]
    people = [
        (user, "occupation", value)
        for user, value in zip(data.user_ids, data.users["occupation"], strict=True)
        if value is not None
    ]
    columns = ("id", "feature", "value")
    return interactions, pd.DataFrame(features, columns=columns), pd.DataFrame(people, columns=columns)


def constructed(interactions, items, users):
    return Dataset.construct(
        interactions,
        user_features_df=users,
        cat_user_features=["occupation"],
        item_features_df=items,
        cat_item_features=["genres"],
    )


@pytest.fixture(scope="module")
def dataset(world):
    interactions, items, users = frames(world)
    # The last ten users are known by their features alone.
    known = interactions[~interactions[Columns.User].isin(world.dataset.user_ids[-10:])]
    return constructed(known, items, users)


@pytest.fixture(scope="module")
def fitted(dataset):
    return small_model().fit(dataset)


def test_their_cross_validation_finds_the_planted_tastes(dataset):
    metrics = {"ndcg": NDCG(k=K), "hit": HitRate(k=K), "new": MeanInvUserFreq(k=K), "all": CoveredUsers(k=K)}
    models = {"popular": PopularModel(), "warmprompt": small_model()}
    found = cross_validate(dataset, LastNSplitter(n=2, n_splits=1), metrics, models, k=K, filter_viewed=True)
    table = pd.DataFrame(found["metrics"]).set_index("model")
    assert (table["all"] == 1).all()
    ndcg = table["ndcg"].groupby("model").mean()
    # A user likes one or two of four tastes: whoever knows which halves the items to choose from at least.
    assert ndcg["warmprompt"] > 1.2 * ndcg["popular"]


def test_a_table_holds_the_rankings_of_the_model_in_use(fitted, dataset, world):
    users = list(world.dataset.user_ids[:5])
    table = fitted.recommend(users, dataset, k=K, filter_viewed=True)
    events = dataset.get_raw_interactions().sort_values(Columns.Datetime, kind="stable")
    occupations = dict(zip(world.dataset.user_ids, world.dataset.users["occupation"], strict=True))
    for user in users:
        own = events[events[Columns.User] == user][Columns.Item]
        known = occupations[user]
        state = fitted.model.adapt(
            [Event(item=item) for item in own], attributes={"occupation": known} if known else None
        )
        expected = fitted.model.rank(state, K)
        rows = table[table[Columns.User] == user]
        assert rows[Columns.Item].tolist() == list(expected.items)
        # One user alone and among others: sums over batches differ in the last bits.
        np.testing.assert_allclose(rows[Columns.Score], expected.scores, rtol=1e-3, atol=1e-3)
        assert rows[Columns.Rank].tolist() == list(range(1, K + 1))


def test_what_was_viewed_is_filtered_only_when_asked(fitted, dataset, world):
    user = world.dataset.user_ids[0]
    viewed = set(dataset.get_raw_interactions().query("user_id == @user")[Columns.Item])
    num_items = dataset.item_id_map.size
    whole, unseen = (
        fitted.recommend([user], dataset, k=num_items, filter_viewed=filtered) for filtered in (False, True)
    )
    assert set(whole[Columns.Item]) == set(dataset.item_id_map.external_ids)
    assert set(unseen[Columns.Item]) == set(whole[Columns.Item]) - viewed
    assert whole[Columns.Score].is_monotonic_decreasing


def test_only_items_of_a_whitelist_are_recommended(fitted, dataset, world):
    some = list(world.dataset.item_ids[10:15])
    table = fitted.recommend(
        world.dataset.user_ids[:3], dataset, k=3, filter_viewed=False, items_to_recommend=some
    )
    assert len(table) == 9
    assert set(table[Columns.Item]) <= set(some)


def test_a_user_of_features_alone_is_known_by_them(fitted, dataset, world):
    warm = [
        (user, occupation)
        for user, occupation in zip(world.dataset.user_ids, world.dataset.users["occupation"], strict=True)
        if occupation is not None
    ][-6:]
    table = fitted.recommend([user for user, _ in warm], dataset, k=K, filter_viewed=True)
    for user, occupation in warm:
        state = fitted.model.adapt(
            [Event(item=item) for item in _items_of(dataset, user)], attributes={"occupation": occupation}
        )
        rows = table[table[Columns.User] == user]
        assert rows[Columns.Item].tolist() == list(fitted.model.rank(state, K).items)
    assert any(not len(_items_of(dataset, user)) for user, _ in warm)


def _items_of(dataset, user):
    table = dataset.get_raw_interactions().sort_values(Columns.Datetime, kind="stable")
    return table[table[Columns.User] == user][Columns.Item].tolist()


def test_unknown_users_get_the_learned_start(fitted, dataset):
    table = fitted.recommend(["nobody", "no one"], dataset, k=K, filter_viewed=True)
    expected = fitted.model.rank(fitted.model.adapt([]), K)
    for user in ("nobody", "no one"):
        assert table[table[Columns.User] == user][Columns.Item].tolist() == list(expected.items)


def test_a_user_who_came_after_the_fit_is_adapted_to(fitted, dataset, world):
    interactions, items, users = frames(world)
    new = interactions[interactions[Columns.User] == world.dataset.user_ids[0]].assign(user_id="new")
    later = constructed(pd.concat([interactions, new]), items, users)
    both = fitted.recommend(["new"], later, k=K, filter_viewed=True)
    state = fitted.model.adapt([Event(item=item) for item in _items_of(later, "new")])
    assert both[Columns.Item].tolist() == list(fitted.model.rank(state, K).items)


def test_items_are_recommended_to_items_of_their_taste(fitted, dataset, world):
    taste_of = {item: index % 4 for index, item in enumerate(world.dataset.item_ids)}
    targets = list(world.dataset.item_ids[:8])
    table = fitted.recommend_to_items(targets, dataset, k=5)
    assert not (table[Columns.TargetItem] == table[Columns.Item]).any()
    assert (table.groupby(Columns.TargetItem).size() == 5).all()
    same = table[Columns.TargetItem].map(taste_of) == table[Columns.Item].map(taste_of)
    assert same.mean() > 0.6  # a quarter by chance
    itself = fitted.recommend_to_items(targets, dataset, k=1, filter_itself=False)
    assert itself[Columns.Item].tolist() == targets


def test_saving_and_loading_changes_nothing(fitted, dataset, world, tmp_path):
    fitted.save(tmp_path / "model")
    again = WarmpromptModel.load(tmp_path / "model")
    users = list(world.dataset.user_ids[:4])
    before, after = (model.recommend(users, dataset, k=K, filter_viewed=True) for model in (fitted, again))
    pd.testing.assert_frame_equal(before, after)


def test_a_configuration_makes_the_same_model(fitted):
    config = fitted.get_config(simple_types=True)
    assert config["cls"] == "warmprompt.integrations.rectools.WarmpromptModel"
    again = model_from_config(config)
    assert again.get_config() == fitted.get_config()
    assert WarmpromptModel.from_config({}).get_config() == WarmpromptModel().get_config()
    assert WarmpromptModel.from_params(fitted.get_params()).get_config() == fitted.get_config()


def test_a_second_fit_forgets_the_first(fitted, dataset, world):
    interactions, items, users = frames(world)
    half = constructed(
        interactions[interactions[Columns.User].isin(world.dataset.user_ids[:80])], items, users
    )
    model = small_model().fit(half).fit(dataset)
    user = [world.dataset.user_ids[3]]
    pd.testing.assert_frame_equal(
        model.recommend(user, dataset, k=K, filter_viewed=True),
        fitted.recommend(user, dataset, k=K, filter_viewed=True),
    )


def test_features_become_attributes_and_weights_say_something_only_where_they_differ(world):
    interactions, items, users = frames(world)
    more = pd.DataFrame(
        [(item, "year", 1990 + item % 9) for item in range(3)], columns=["id", "feature", "value"]
    )
    more["id"] = list(world.dataset.item_ids[:3])
    data = dataset_from_rectools(constructed(interactions, pd.concat([items, more]), users))
    assert data.rating_scale is None
    assert data.weight_unit is None
    position = data.item_ids.index(world.dataset.item_ids[1])
    assert data.items["year"][position] == "1991"
    assert [data.items["genres"][position]] == world.dataset.items["genres"][1].to_list()
    rated, items, users = frames(world, weight=None)
    assert dataset_from_rectools(constructed(rated, items, users), ratings=True).rating_scale == (1.0, 5.0)
    counted = dataset_from_rectools(constructed(rated, items, users))
    assert counted.rating_scale is None
    assert counted.weight_unit is not None


def test_mistakes_are_named(dataset, world):
    with pytest.raises(NotFittedError):
        small_model().recommend(world.dataset.user_ids[:1], dataset, k=K, filter_viewed=True)
    interactions, _, _ = frames(world)
    heights = pd.DataFrame({"id": interactions[Columns.User].unique(), "height": 1.0})
    dense = Dataset.construct(interactions, user_features_df=heights, make_dense_user_features=True)
    with pytest.raises(BadInputError, match="user features: 'dense'. Construct"):
        small_model().fit(dense)
