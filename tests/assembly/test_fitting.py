"""From DataFrames to a model in memory: trained as a run is, saved as one, and as good to the bit."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import warmprompt
from warmprompt import BadInputError, Dataset, Event, Known, UnknownNameError
from warmprompt.training.run import train_run

pytestmark = pytest.mark.usefixtures("text_home")

TINY = {
    "backbone.num_layers": 2,
    "backbone.item_text": ["tiny-encoder"],
    "backbone.user_text": "tiny-encoder",
    "model.num_factors": np.int64(4),
    "model.wordings": 1,
    "train.tangent_epochs": 2,
    "train.threads": 1,
}


@pytest.fixture(scope="module")
def frames(planted_folder):
    """Return the planted world as frames, as a shop would hold it."""
    _, world = planted_folder
    data, events = world.dataset, world.dataset.interactions
    owners = np.repeat(np.arange(data.num_users), np.diff(events.offsets))
    interactions = pl.DataFrame(
        {
            "user_id": [data.user_ids[user] for user in owners],
            "item_id": [data.item_ids[item] for item in events.items],
            "rating": events.ratings,
            "datetime": pl.from_epoch(pl.Series(events.times_s), time_unit="s"),
        }
    )
    items = data.items.select(item_id=pl.Series(data.item_ids), title="title", genres="genres")
    return interactions, items


@pytest.fixture(scope="module")
def dataset(frames):
    return Dataset.from_frames(*frames, name="mine", rating_scale=(1, 5))


@pytest.fixture(scope="module")
def fitted(dataset, text_home, tmp_path_factory):
    """Return the model, and what was left in the folder for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        model = warmprompt.fit(dataset, backbone="tiny", seed=np.int64(3), settings=TINY)
    return model, list(folder.iterdir())


def test_a_fitted_model_is_the_run_that_the_same_settings_train(fitted, dataset, tmp_path):
    flags = {**TINY, "model.num_factors": 4, "backbone.name": "tiny", "train.seed": 3, "data.name": "mine"}
    train_run(warmprompt.load_settings(flags=flags), tmp_path / "run", dataset=dataset)
    again = warmprompt.load(tmp_path / "run")
    known = [Known(events=[Event(item=item, rating=5.0)]) for item in again.items[:5]]
    assert fitted[0].rank_many(known) == again.rank_many(known)
    assert fitted[0].engine.trained.manifest["data"]["name"] == "mine"


def test_nothing_is_left_in_the_temporary_folder(fitted):
    assert fitted[1] == []


def test_saving_and_loading_gives_the_same_model(fitted, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "deep" / "run")
    again = warmprompt.load(tmp_path / "deep" / "run")
    assert again.model_hash == model.model_hash
    state = model.adapt([Event(item=model.items[3], rating=5.0)], about="hm")
    assert again.rank(state) == model.rank(state)
    with pytest.raises(BadInputError, match="not empty"):
        model.save(tmp_path / "deep" / "run")
    model.save(tmp_path / "deep" / "run", overwrite=True)
    assert warmprompt.load(tmp_path / "deep" / "run").model_hash == model.model_hash


def test_saving_never_replaces_what_is_no_run(fitted, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    with pytest.raises(BadInputError, match="It holds something else"):
        fitted[0].save(tmp_path / "letters", overwrite=True)
    assert (tmp_path / "letters" / "one.txt").read_text() == "dear"


def test_with_a_folder_the_run_stays_there(dataset, tmp_path):
    model = warmprompt.fit(dataset, out=tmp_path / "run", backbone="tiny", settings=TINY)
    assert warmprompt.load(tmp_path / "run").model_hash == model.model_hash
    lines = []
    same = warmprompt.fit(
        dataset, out=tmp_path / "run", backbone="tiny", settings=TINY, progress=lines.append
    )
    assert any("holds this run already" in str(line) for line in lines)
    assert same.model_hash == model.model_hash


def test_an_imported_data_set_may_be_named(planted_folder, tmp_path):
    model = warmprompt.fit(str(planted_folder[0]), backbone="tiny", settings=TINY)
    assert len(model.items) == 60


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": pl.DataFrame()}, BadInputError, "Dataset.from_frames makes one"),
        ({"dataset": Path("nowhere")}, UnknownNameError, "data set: 'nowhere'"),
        ({"settings": {"train.epochs": 3}}, UnknownNameError, "There is no such setting"),
        ({"settings": {"train.tangent_epochs": "many"}}, BadInputError, "train.tangent_epochs"),
        ({"overwrite": True}, BadInputError, "name a folder as out"),
        ({"learner": "nothing"}, UnknownNameError, "nothing"),
    ],
)
def test_mistakes_are_named(dataset, arguments, error, message):
    with pytest.raises(error) as caught:
        warmprompt.fit(**{"dataset": dataset, **arguments})
    assert message in caught.value.line()
