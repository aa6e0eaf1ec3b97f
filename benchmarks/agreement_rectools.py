"""The other side of `agreement.py`: runs in an environment with RecTools and without this project.

    python benchmarks/agreement_rectools.py FOLDER PART

Reads FOLDER/given.npz, does one of `PARTS`, writes FOLDER/found.npz and FOLDER/versions.json. B is users,
V items.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from implicit.nearest_neighbours import CosineRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import MRR, NDCG, HitRate
from rectools.models import EASEModel, ImplicitItemKNNWrapperModel, PopularModel, SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

CUT_OFF = 10
LENGTH = 50


def main(folder: Path, part: str) -> None:
    """Do what is asked for with what is given; write what was found, and the versions here."""
    warnings.filterwarnings("ignore")
    found = PARTS[part](dict(np.load(folder / "given.npz")))
    np.savez(folder / "found.npz", **found)
    names = ("rectools", "pm-implicit", "numpy", "scipy", "torch", "pytorch-lightning")
    (folder / "versions.json").write_text(json.dumps({name: version(name) for name in names}))


def fits(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Judge the given ranking, fit the models, rank the test users."""
    num_items = int(given["num_items"])
    query = frame(given["random_query"])
    ranking = ranked(frame(given["ranking"]))
    num_users = int(given["random_query"][:, 0].max()) + 1
    found = {
        f"metric {name}": in_order(metric.calc_per_user(ranking, query), num_users)
        for name, metric in metrics(num_items).items()
    }
    found["default ndcg"] = np.array(NDCG(k=CUT_OFF).calc(ranking, query))
    training, whole, users = datasets(given, "random")
    models = {
        "toppop": PopularModel(popularity="n_users"),
        "ease": EASEModel(regularization=float(given["l2"]), recommend_n_threads=1),
        "itemknn": ImplicitItemKNNWrapperModel(CosineRecommender(K=num_items, num_threads=1)),
    }
    for name, model in models.items():
        reco = model.fit(training).recommend(users, whole, k=num_items, filter_viewed=True)
        found[f"scores {name}"] = table(reco, (num_users, num_items))
        found[f"ndcg {name}"] = ndcg(reco, query, num_users)
    for index in range(int(given["num_splits"])):
        name = f"next_{index}"
        found[f"ndcg sasrec {index}"], found[f"chosen sasrec {index}"] = sasrec(given, name)
    return found


def table(reco: pd.DataFrame, shape: tuple[int, int]) -> np.ndarray:
    """Return the recommended items' scores, (B, V); NaN where nothing was recommended."""
    scores_BV = np.full(shape, np.nan)
    scores_BV[reco[Columns.User], reco[Columns.Item]] = reco[Columns.Score]
    return scores_BV


def metrics(num_items: int) -> dict[str, object]:
    """Return RecTools' metrics by our names."""
    return {
        "HR@10": HitRate(k=CUT_OFF),
        "NDCG@10": NDCG(k=CUT_OFF, divide_by_achievable=True),
        "MRR": MRR(k=num_items),
    }


def sasrec(given: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Train SASRec on one split; return each test user's NDCG@10, and the rate and epochs chosen.

    For each rate training stops now and then; of all these models the one that ranks best for the validation
    users' episodes, the same that end the training on our side, ranks for the test users.
    """
    from pytorch_lightning import seed_everything

    training, _, _ = datasets(given, name)
    best, chosen, kept = -1.0, (0.0, 0), np.empty(0)
    for rate in given["rates"]:
        seed_everything(0)
        model = SASRecModel(
            n_factors=int(given["width"]),
            n_blocks=int(given["num_blocks"]),
            n_heads=2,
            dropout_rate=float(given["dropout"]),
            session_max_len=LENGTH,
            loss="softmax",
            lr=float(rate),
            deterministic=True,
            recommend_torch_device="cpu",
        )
        done = 0
        for stop in given["stops"]:
            more = int(stop) - done
            model.fit_partial(training, min_epochs=more, max_epochs=more)
            done = int(stop)
            value = float(np.nanmean(next_ndcg(model, given, name, "validation_")))
            print(f"{name}, rate {rate:g}, {done} epochs: {value:.4f} on validation users", flush=True)
            if value > best:
                best, chosen = value, (float(rate), done)
                kept = next_ndcg(model, given, name)
    return kept, np.array(chosen)


def next_ndcg(model: SASRecModel, given: dict[str, np.ndarray], name: str, of: str = "") -> np.ndarray:
    """Return each user's NDCG@10, (B,), of the test users or, with "validation_", of those episodes."""
    _, whole, users = datasets(given, name, of)
    query = given[f"{name}_{of}query"]
    reco = model.recommend(users, whole, k=CUT_OFF, filter_viewed=True)
    return ndcg(reco, frame(query), int(query[:, 0].max()) + 1)


def datasets(given: dict[str, np.ndarray], name: str, of: str = "") -> tuple[Dataset, Dataset, np.ndarray]:
    """Return the training events, the same with the tested users' supports, and the tested users.

    Items are numbered as they come, so the training items have equal numbers in both. Support items
    without a training event are left out: no model here knows them.
    """
    training, support = frame(given[f"{name}_training"]), frame(given[f"{name}_{of}support"])
    support = support[support[Columns.Item].isin(training[Columns.Item])]
    whole = pd.concat([training, support])
    return Dataset.construct(training), Dataset.construct(whole), support[Columns.User].unique()


def same_weights(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rank the test users by the given network, rebuilt from RecTools' modules with its weights in them.

    The model is built, for no epoch, on a list of the whole catalogue: on the training events it would
    know only the items that lie among some user's last 51.
    """
    num_items, num_users = int(given["num_items"]), int(given["support"][:, 0].max()) + 1
    model = SASRecModel(
        n_factors=given["net items.weight"].shape[1],
        n_blocks=int(given["num_blocks"]),
        n_heads=int(given["num_heads"]),
        session_max_len=len(given["net positions.weight"]),
        transformer_layers_type=NormedLiGR,
        transformer_layers_kwargs={"ff_factors_multiplier": int(given["num_times"])},
        use_key_padding_mask=True,
        recommend_torch_device="cpu",
    )
    # Each item and the next one make a user: histories of one event would be left out.
    places = np.arange(num_items)
    catalogue = np.column_stack([np.tile(places, 2), np.r_[places, np.roll(places, -1)]])
    model.fit_partial(Dataset.construct(frame(catalogue)), min_epochs=0, max_epochs=0)
    model.torch_model.load_state_dict(renamed(given, model.data_preparator.get_known_item_ids()))
    reco = model.recommend(
        np.arange(num_users),
        Dataset.construct(frame(given["support"])),
        k=num_items,
        filter_viewed=True,
        items_to_recommend=given["candidates"],
    )
    return {"scores sasrec": table(reco, (num_users, num_items))}


PARTS = {"fits": fits, "same weights": same_weights}


class NormedLiGR(LiGRLayers):
    """RecTools' LiGR blocks and a LayerNorm behind them, as its `SASRecTransformerLayers` has one."""

    def __init__(self, n_blocks: int, n_factors: int, n_heads: int, *rest: float, **named: int) -> None:
        super().__init__(n_blocks, n_factors, n_heads, *rest, **named)
        self.last_layernorm = torch.nn.LayerNorm(n_factors)

    def forward(self, *seqs_and_masks: torch.Tensor | None, **rest: object) -> torch.Tensor:
        """Return the normed states, (B, L, D)."""
        return self.last_layernorm(super().forward(*seqs_and_masks, **rest))


def renamed(given: dict[str, np.ndarray], known: np.ndarray) -> dict[str, torch.Tensor]:
    """Return our weights under RecTools' names; `known` holds our items in its order, padding left out."""
    named = {}
    for name, value in given.items():
        if name.startswith("net "):
            theirs = name.removeprefix("net ")
            for own, other in NAMES.items():
                theirs = theirs.replace(own, other)
            named[theirs] = torch.from_numpy(value)
    vectors = NAMES["items."] + "weight"
    # Row 0 is padding on both sides; our item v lies at v + 1.
    named[vectors] = named[vectors][np.r_[0, known.astype(np.int64) + 1]]
    return named


NAMES = {
    "items.": "item_model.item_net_blocks.0.ids_emb.",
    "positions.": "pos_encoding_layer.pos_emb.",
    "layers.": "transformer_layers.transformer_blocks.",
    "attention.": "multi_head_attn.",
    "norm1.": "layer_norm_1.",
    "norm2.": "layer_norm_2.",
    "linear1.": "feed_forward.ff_linear_1.",
    "linear2.": "feed_forward.ff_linear_2.",
    "linear3.": "feed_forward.ff_linear_3.",
    "gate1.": "gating_linear_1.",
    "gate2.": "gating_linear_2.",
    "norm.": "transformer_layers.last_layernorm.",
}
"""Parts of our names to RecTools'; loading is strict, so that no tensor of either side is left over."""


def frame(rows: np.ndarray) -> pd.DataFrame:
    """Return (user, item) rows as a table of interactions; the order of rows is their time."""
    table = pd.DataFrame({Columns.User: rows[:, 0], Columns.Item: rows[:, 1], Columns.Weight: 1.0})
    table[Columns.Datetime] = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(rows)), unit="s")
    return table


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose rows are best first per user, with their ranks."""
    return table.assign(**{Columns.Rank: table.groupby(Columns.User).cumcount() + 1})


def ndcg(reco: pd.DataFrame, query: pd.DataFrame, num_users: int) -> np.ndarray:
    """Return each user's NDCG@10, (B,)."""
    return in_order(NDCG(k=CUT_OFF, divide_by_achievable=True).calc_per_user(reco, query), num_users)


def in_order(values: pd.Series, num_users: int) -> np.ndarray:
    """Return values by user, (B,); NaN where RecTools has none."""
    return values.reindex(range(num_users)).to_numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
