"""What users' own words add to the ids of their events, with controls; writes docs/results/own-words.md.

    python benchmarks/own_words.py musical-instruments amazon-gift-cards-2018 --runs runs/own-words

Data sets are imported ones, or folders of review files under --data-folder or WARMPROMPT_DATA. Each split
seed trains one model, kept under --runs, so that a second call goes on. The expert `user_text` is fitted on
what its training users wrote. For each row anew, weights of all experts are found on validation users. Rows:

    ids                 no text
    own                 what the user wrote with the events of the support
    another, same item  a training user's text on the same item instead
    random              any training user's text instead
    own, TF-IDF         own texts, read by TF-IDF and its 384 leading components instead of the encoder
    own, both           own texts, read by the encoder and by TF-IDF, side by side

NDCG@10 over the whole catalogue, protocol `random`, K = 1, 2, 3. The numbers go to a .json beside the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from warmprompt.adaptation.engine import make_engine, users_linearly
from warmprompt.backbone.text import embed_texts
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.from_source import dataset_of_source
from warmprompt.data.home import dataset_folder
from warmprompt.data.readers import read_folder
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.significance import (
    average_within_user,
    bootstrap_means,
    holm,
    permutation_p_values,
)
from warmprompt.experts import UserBatch
from warmprompt.experts.protocol import Encode
from warmprompt.rng import derive
from warmprompt.runs.format import Trained
from warmprompt.runs.models import settings_of
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.settings import load_settings
from warmprompt.training.mixture_weights import choose_weights, fit_context, fit_experts
from warmprompt.training.run import train_run
from warmprompt.types import Floats

KS = (1, 2, 3)
ROWS = ("ids", "own", "another, same item", "random", "own, TF-IDF", "own, both")
_NUM_COMPONENTS = 384
_BATCH = 256


def main() -> None:
    """Measure every data set and seed, and write page and numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--data-folder", type=Path, default=os.environ.get("WARMPROMPT_DATA"))
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS[1:], default=ROWS[1:])
    parser.add_argument("--set", dest="given", action="append", default=[], help="A setting of the training.")
    parser.add_argument("--out", type=Path, default=Path("docs/results/own-words.md"))
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name in options.data:
        dataset = _dataset(name, options.data_folder)
        if dataset is None:
            print(f"skipped {name}: not imported, and no such folder under --data-folder or WARMPROMPT_DATA")
            continue
        if dataset.interactions.texts is None:
            print(f"skipped {name}: no event has a text; import it again")
            continue
        rows = ("ids", *(row for row in ROWS if row in options.rows))
        per_seed = [measured(dataset, seed, options.runs, rows, options.given) for seed in options.seeds]
        found[name] = {"seeds": options.seeds, "rows": rows, "K": summary(per_seed, rows)}
    if not found:
        sys.exit("nothing was measured")
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    options.out.write_text(page(found, " ".join(sys.argv[1:])))


def measured(
    dataset: Dataset, seed: int, runs: Path, rows: Sequence[str], given: Sequence[str]
) -> dict[int, dict[Any, np.ndarray]]:
    """Return NDCG@10 of each row, (rows,), per K and test user of one split."""
    settings = load_settings(assignments=[f"train.seed={seed}", *given])
    base = replace(settings, experts=replace(settings.experts, use=_ids_alone(settings.experts.use)))
    trained = train_run(base, runs / f"{dataset.name}-{seed}", dataset=dataset, progress=_say)
    split = split_dataset(dataset, seed=seed)
    training = take_users(dataset, split.train)
    encoder = settings_of(trained).backbone.user_text
    assert encoder is not None
    read: Encode = partial(embed_texts, backbone_name=encoder)
    columns: dict[int, list[dict[Any, float]]] = {k: [] for k in KS}
    for row in rows:
        encode = _reader(row, read, training)
        given_texts = with_texts_of_others(dataset, training, row, seed=seed)
        weighed = trained if row == "ids" else _weighed(trained, training, given_texts, encode, seed=seed)
        task = build_task(given_texts, ProtocolSettings(ks=KS), seed=seed)
        for k, values in ndcg_of(weighed, task, None if row == "ids" else encode).items():
            columns[k].append(values)
        _say(f"{dataset.name}, split {seed}, {row}: {dict(weighed.experts.weights)}")
    return {
        k: {user: np.array([values[user] for values in of_k]) for user in of_k[0]}
        for k, of_k in columns.items()
        if of_k
    }


def with_texts_of_others(dataset: Dataset, training: Dataset, row: str, *, seed: int) -> Dataset:
    """Return the data with the texts of users outside training replaced as the row says; else as it is."""
    if row not in ("another, same item", "random"):
        return dataset
    events, others = dataset.interactions, training.interactions
    assert events.texts is not None
    assert others.texts is not None
    pools: dict[int, list[str]] = {}
    for item, text in zip(others.items.tolist(), others.texts, strict=True):
        if text is not None:
            pools.setdefault(item if row != "random" else 0, []).append(text)
    rng, known = derive(seed, "own-words", row), set(training.user_ids)
    owners = np.repeat(np.arange(dataset.num_users), np.diff(events.offsets))
    texts = events.texts.to_list()
    for index, item in enumerate(events.items.tolist()):
        if dataset.user_ids[owners[index]] not in known and texts[index] is not None:
            pool = pools.get(item if row != "random" else 0, [None])  # type: ignore[list-item]
            texts[index] = pool[int(rng.integers(len(pool)))]
    return replace(dataset, interactions=replace(events, texts=pl.Series(texts, dtype=pl.String)))


def tfidf_reader(training: Dataset) -> Encode:
    """Return a reader of TF-IDF's leading components, fitted on what training users wrote."""
    assert training.interactions.texts is not None
    texts = training.interactions.texts.drop_nulls().to_list()
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    counts = words.fit_transform(texts)
    lead = TruncatedSVD(min(_NUM_COMPONENTS, counts.shape[1] - 1), random_state=0).fit(counts)

    def read(texts: Sequence[str]) -> Floats:
        found_NX = lead.transform(words.transform(texts)).astype(np.float32)
        lengths_N1 = np.linalg.norm(found_NX, axis=1, keepdims=True)
        # A text without a known word stays 0.
        unit_NX: Floats = found_NX / np.where(lengths_N1 > 0, lengths_N1, 1)
        return unit_NX

    return read


def side_by_side(*readers: Encode) -> Encode:
    """Return a reader whose vectors are those of all readers, one behind the other, at the length of one."""
    return lambda texts: np.concatenate([read(texts) for read in readers], axis=1) / np.sqrt(len(readers))


def ndcg_of(trained: Trained, task: EvaluationTask, encode: Encode | None) -> dict[int, dict[Any, float]]:
    """Return NDCG@10 per K and test user."""
    engine = make_engine(trained)
    found = {}
    for k, cases in task.cases.items():
        values: list[float] = []
        for start in range(0, len(cases), _BATCH):
            part = cases[start : start + _BATCH]
            supports = [case.support for case in part]
            users_BD = users_linearly(engine, [""] * len(part), supports)
            batch = UserBatch(
                supports=supports, vectors_BD=users_BD, least_rating=trained.least_rating, encode=encode
            )
            ranked = ranks(
                engine.mixture.score(batch),
                [case.query for case in part],
                excluded=[support.items_K for support in supports],
                candidates=task.candidates_V,
            )
            values += ndcg_per_user(ranked).tolist()
        found[k] = {case.support.user: value for case, value in zip(cases, values, strict=True)}
    return found


def summary(per_seed: Sequence[Mapping[int, Any]], rows: Sequence[str]) -> dict[str, Any]:
    """Return per K the means, gains over ids in percent with 95 % intervals, and Holm's p-values."""
    cells, p_values = {}, []
    for k in per_seed[0]:
        by_user = average_within_user([of_seed[k] for of_seed in per_seed])
        values_UR = np.stack(list(by_user.values()))
        means_NR = bootstrap_means(values_UR, derive(0, "own-words", k))
        gains_NR = 100 * (means_NR / means_NR[:, :1] - 1)
        low_R, high_R = np.quantile(gains_NR, [0.025, 0.975], axis=0)
        means_R = values_UR.mean(axis=0)
        p_values += permutation_p_values(
            values_UR[:, 1:] - values_UR[:, :1], derive(1, "own-words", k)
        ).tolist()
        cells[str(k)] = {
            "num_users": len(values_UR),
            "ndcg": dict(zip(rows, means_R.round(5).tolist(), strict=True)),
            "gain": {
                row: [
                    round(float(value), 2)
                    for value in (100 * (means_R[at] / means_R[0] - 1), low_R[at], high_R[at])
                ]
                for at, row in enumerate(rows)
                if at
            },
        }
    adjusted = iter(holm(np.array(p_values)).tolist())
    for cell in cells.values():
        cell["p"] = {row: round(next(adjusted), 5) for row in rows[1:]}
    return cells


def page(found: Mapping[str, Any], command: str) -> str:
    """Return the page."""
    parts = [_HEAD.format(command=command)]
    for name, one in found.items():
        ks = one["K"]
        parts.append(
            f"## {name}\n\nSplit seeds {', '.join(map(str, one['seeds']))}; test users per K: "
            + (", ".join(f"{cell['num_users']} at K = {k}" for k, cell in ks.items()) + ".\n")
        )
        lines = ["| | " + " | ".join(f"K = {k}" for k in ks) + " |", "|---" * (len(ks) + 1) + "|"]
        lines += [
            f"| {row} | " + " | ".join(_cell(cell, row) for cell in ks.values()) + " |" for row in one["rows"]
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(cell: Mapping[str, Any], row: str) -> str:
    value = f"{cell['ndcg'][row]:.4f}".lstrip("0")
    if row not in cell["gain"]:
        return value
    gain, low, high = cell["gain"][row]
    mark = "" if cell["p"][row] < 0.05 else ", n.s."
    return f"{value} ({gain:+.1f} % [{low:+.1f}, {high:+.1f}]{mark})"


def _weighed(trained: Trained, training: Dataset, given: Dataset, encode: Encode, *, seed: int) -> Trained:
    """Return the run with the text expert, weights found with the texts given to validation users."""
    settings = settings_of(trained)
    use = (*_ids_alone(settings.experts.use), "user_text")
    no_text_T = trained.no_text_T
    context = fit_context(
        trained,
        settings.experts,
        texts=item_texts(training, untitled="") if settings.backbone.item_text else None,
        encode=encode,
        no_text_T=no_text_T,
        seed=seed,
        progress=_say,
    )
    experts = fit_experts(training, context, use)
    validation = take_users(given, split_dataset(given, seed=seed).validation)
    mixture, _ = choose_weights(
        trained,
        experts,
        training,
        validation,
        kappa=settings.experts.kappa,
        encode=encode,
        no_text_T=no_text_T,
        seed=seed,
        order=settings.train.order,
    )
    return replace(trained, experts=mixture)


def _reader(row: str, read: Encode, training: Dataset) -> Encode:
    if row == "own, TF-IDF":
        return tfidf_reader(training)
    return side_by_side(read, tfidf_reader(training)) if row == "own, both" else read


def _ids_alone(use: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in use if name != "user_text")


def _dataset(name: str, folder: Path | None) -> Dataset | None:
    if (dataset_folder(name) / "manifest.json").is_file():
        return open_dataset(dataset_folder(name))
    if folder is None or not (Path(folder) / name).exists():
        return None
    return dataset_of_source(read_folder(Path(folder) / name), name=name, progress=_say)


def _say(what: object) -> None:
    if isinstance(what, str):
        print(what, flush=True)


_HEAD = """# Users' own words

What a user writes with an event, here a review, is read by the sentence encoder. The expert `user_text`
maps it to items by ridge regression over training users ([concepts](../concepts.md)). This page says what
that adds to the ids of the same events.

- `ids` is the model without any text. Each other row adds the expert. Validation users decide all weights.
- `another, same item` gives each user the review of a training user on the same item. What is left is the
  item's content. `random` gives any training user's review.
- `own, TF-IDF` reads the user's own reviews without the encoder: 384 leading components of TF-IDF.
  `own, both` puts both readers' vectors side by side.
- NDCG@10 is over the whole catalogue, protocol `random`. Brackets hold the gain over `ids` with its 95 %
  bootstrap interval over users, seeds averaged within the user. n.s.: p is .05 or more after Holm.

Measured with `python benchmarks/own_words.py {command}`.
"""


if __name__ == "__main__":
    main()
