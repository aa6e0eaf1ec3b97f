"""What samples lose where there are too many users or items for all: NDCG@10 on validation users.

    python benchmarks/samples.py ml-1m WORK_FOLDER OUT.json

Trains on one data set with outer steps over all items and over samples of a fifth and a tenth of them. For
the run over all items the posterior is then fitted anew on samples of the training users. Weights of experts
are searched each time, as training does it. What lies in the work folder is not trained again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest.mock import patch

from commits import commit

from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.home import find_dataset
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.machine import describe_machine
from warmprompt.experts import user_posterior
from warmprompt.files import write_atomic
from warmprompt.runs.format import Trained, load_trained
from warmprompt.settings import from_mapping, load_settings
from warmprompt.training.mixture_weights import choose_weights, fit_context, fit_experts
from warmprompt.training.run import train_run

SHARES_OF_ITEMS = (1.0, 0.2, 0.1)
SHARES_OF_USERS = (1.0, 0.5, 0.25, 0.1)


def main(data: str, work: Path, out: Path) -> None:
    """Train, fit and write."""
    dataset = open_dataset(find_dataset(data))
    runs = {}
    for share in SHARES_OF_ITEMS:
        sampled = int(share * dataset.num_items) if share < 1 else 0
        setting = {"data.name": data, "train.sampled_items": sampled, "train.threads": 1}
        runs[share] = train_run(load_settings(flags=setting), work / f"items-{share:g}", progress=shown)
    items = [
        {
            "share_of_items": share,
            "ndcg": run.manifest["validation"]["ndcg"],
            "outer_loop_cpu_s": run.manifest["stages"]["meta_learning"]["cpu_s"],
        }
        for share, run in runs.items()
    ]
    whole = load_trained(work / "items-1")
    users = [
        {"share_of_users": share, "ndcg": with_posterior(whole, dataset, share)} for share in SHARES_OF_USERS
    ]
    found = {"data": data, "items": items, "posterior": users}
    found |= {"commit": commit(), "machine": describe_machine()}
    write_atomic(out, (json.dumps(found, indent=1) + "\n").encode())
    print(json.dumps(found, indent=1))


def with_posterior(trained: Trained, dataset: Dataset, share: float) -> float:
    """Return NDCG@10 on validation users where the posterior weighs a share of the training users."""
    settings = from_mapping(trained.manifest["settings"])
    seed = settings.train.seed
    split = split_dataset(dataset, seed=seed)
    training, validation = take_users(dataset, split.train), take_users(dataset, split.validation)
    context = fit_context(
        trained, settings.experts, texts=None, no_text_T=trained.no_text_T, seed=seed, progress=print
    )
    cells = int(share * training.num_users) * training.num_items
    with patch.object(user_posterior, "MAX_CELLS", cells):
        experts = fit_experts(training, context, settings.experts.use)
        experts.pop("most_popular", None)  # weighed apart, for users without events
        _, found = choose_weights(
            trained,
            experts,
            training,
            validation,
            kappa=settings.experts.kappa,
            no_text_T=trained.no_text_T,
            seed=seed,
            order=settings.train.order,
        )
    ndcg: float = found["ndcg"]
    return ndcg


def shown(report: object) -> None:
    """Print lines, but no steps."""
    if isinstance(report, str):
        print(report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
