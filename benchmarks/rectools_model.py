"""warmprompt as a RecTools model, in RecTools' own environment: tests of its contract, and cross-validation.

    python3.11 -m venv /tmp/rectools
    /tmp/rectools/bin/pip install torch==2.13.0 "rectools[torch,lightfm]==0.19.0" numpy==1.26.4 \
        pandas==2.3.3 scipy==1.17.1 pm-implicit==0.7.3 pytorch-lightning==2.5.2 rectools-lightfm==1.17.3 \
        attrs==23.2.0 pyarrow==25.0.1 polars==2.1.0 transformers==5.23.0 accelerate gguf safetensors \
        platformdirs rich typer tomli-w threadpoolctl tensorboard rapidfuzz httpx matplotlib pytest hypothesis
    /tmp/rectools/bin/pip install --no-deps .
    /tmp/rectools/bin/python benchmarks/rectools_model.py --out docs/results/rectools.md

RecTools asks for NumPy below 2, this package for a later one, so it is installed without its dependencies.
Cross-validation: MovieLens-100K, the last weeks held out by time, users without interactions before included.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from commits import commit
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG, CoveredUsers, MeanInvUserFreq, Recall
from rectools.model_selection import TimeRangeSplitter, cross_validate
from rectools.models import EASEModel, ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.base import ModelBase

from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.files import write_atomic
from warmprompt.integrations.rectools import WarmpromptModel

K = 10
TEST_DAYS = 14
TESTS = "tests/integrations/test_rectools.py"
VERSIONS = ("rectools", "numpy", "pandas", "polars", "pyarrow", "scipy", "torch", "transformers")

PAGE = """\
# As a RecTools model

Can the model be used as a RecTools model? Yes: it passes RecTools' model contract.

`warmprompt.integrations.rectools.WarmpromptModel` passes RecTools' model contract, so their `cross_validate`,
metrics and tables run on it. `benchmarks/rectools_model.py` writes this page; its first lines describe
how to make the environment that both share.

- Tests of the contract, run against RecTools itself: {outcome}.
- Versions: {versions}.

## Cross-validation on MovieLens-100K

The last {days} days are held out: {test:,} interactions of {test_users:,} users, after {train:,} of
{train_users:,}. Users without an interaction before are known by age, gender and occupation alone. A model
that cannot rank for them covers fewer users, and its metrics are means over the users that it covers.
"""
FOOTER = """
RecTools' models have the arguments shown and are not tuned. The table shows that the contract holds, not
which model is better; tuned comparisons are in [the results](index.md).
"""


def main() -> int:
    """Run the tests, then cross-validation; write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS],
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = tests.stdout.strip().splitlines()[-1]
    print(outcome, flush=True)
    if tests.returncode:
        print(tests.stdout)
        return 1
    found, seconds = validated()
    write_atomic(options.out, page(outcome, found, seconds).encode())
    return 0


def validated() -> tuple[dict[str, Any], dict[str, float]]:
    """Return RecTools' cross-validation of our model and three of theirs, and each one's seconds."""
    from implicit.nearest_neighbours import CosineRecommender

    data = movielens()
    splitter = TimeRangeSplitter(
        f"{TEST_DAYS}D", n_splits=1, filter_cold_users=False, filter_already_seen=True
    )
    metrics = {
        "NDCG@10": NDCG(k=K, divide_by_achievable=True),
        "Recall@10": Recall(k=K),
        "novelty@10": MeanInvUserFreq(k=K),
        "users covered": CoveredUsers(k=K),
    }
    models: dict[str, ModelBase] = {
        "PopularModel": PopularModel(),
        "EASEModel(regularization=500)": EASEModel(regularization=500),
        "ImplicitItemKNNWrapperModel(CosineRecommender(K=50))": ImplicitItemKNNWrapperModel(
            CosineRecommender(K=50)
        ),
        "WarmpromptModel()": WarmpromptModel(),
        "WarmpromptModel(ratings=True)": WarmpromptModel(ratings=True),
    }
    parts, seconds = [], {}
    for name, model in models.items():
        begun_s = time.monotonic()
        part = cross_validate(
            data, splitter, metrics, {name: model}, k=K, filter_viewed=True, on_unsupported_targets="ignore"
        )
        seconds[name] = time.monotonic() - begun_s
        parts.append(part)
        print(part["metrics"], f"{seconds[name]:.0f} s", flush=True)
    rows = [row for part in parts for row in part["metrics"]]
    return {"splits": parts[0]["splits"], "metrics": rows}, seconds


def movielens() -> Dataset:
    """Return MovieLens-100K as RecTools has it, with features of items and users, titles among them."""
    data = open_dataset(ensure_dataset("ml-100k"))
    events = data.interactions
    users = [user for user in range(data.num_users) for _ in range(*events.offsets[user : user + 2])]
    interactions = pd.DataFrame(
        {
            Columns.User: [data.user_ids[user] for user in users],
            Columns.Item: [data.item_ids[item] for item in events.items],
            Columns.Weight: events.ratings,
            Columns.Datetime: pd.to_datetime(events.times_s, unit="s"),
        }
    )
    items = [
        (item, name, value)
        for item, row in zip(data.item_ids, data.items.iter_rows(named=True), strict=True)
        for name, values in row.items()
        for value in (values if isinstance(values, list) else [values])
        if value
    ]
    people = [
        (user, name, value)
        for user, row in zip(data.user_ids, data.users.iter_rows(named=True), strict=True)
        for name, value in row.items()
        if value
    ]
    columns = ("id", "feature", "value")
    return Dataset.construct(
        interactions,
        user_features_df=pd.DataFrame(people, columns=columns),
        cat_user_features=data.users.columns,
        item_features_df=pd.DataFrame(items, columns=columns),
        cat_item_features=data.items.columns,
    )


def page(outcome: str, found: dict[str, Any], seconds: dict[str, float]) -> str:
    """Return the page in Markdown."""
    (split,) = found["splits"]
    names = [name for name in found["metrics"][0] if name not in ("model", "i_split")]
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    header = PAGE.format(
        outcome=outcome.strip("= "),
        versions=f"{versions}; Python {platform.python_version()}; commit {commit()}",
        days=TEST_DAYS,
        **split,
    )
    lines = [
        header,
        f"| model | {' | '.join(names)} | seconds |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for row in found["metrics"]:
        values = " | ".join(f"{row[name]:.4f}" for name in names)
        lines.append(f"| `{row['model']}` | {values} | {seconds[row['model']]:.0f} |")
    lines += [FOOTER]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
