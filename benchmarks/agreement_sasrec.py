"""Compare what our SASRec and RecTools' compute from the same weights.

    python benchmarks/agreement_sasrec.py --other /tmp/rectools/bin/python --out docs/results/agreement

Trains ours as the tables do, on MovieLens-100K, protocol `next`, split seed 0; its weights go into RecTools'
own modules, and RecTools reads the test users' supports and ranks (`agreement_rectools.py`). Adds one row to
what `agreement.py` wrote, which calls this, and leaves the rest as it is recorded. Ends with exit code 1
where the difference exceeds its tolerance. B is users, V items.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from agreement import SASREC, K, Row, ask_rectools, pairs, versions_here, write_page
from commits import commit
from numpy.typing import NDArray

from warmprompt.baselines import baseline
from warmprompt.baselines.sasrec import SASRec
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.types import Floats

TOLERANCE = 1e-5
"""Of the largest score: float32, sums in another order. Fixed before the run."""


def main() -> int:
    """Read the options, train, let RecTools compute, add the row to the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, required=True, help="python of an environment with RecTools")
    parser.add_argument("--out", type=Path, default=Path("docs/results/agreement"))
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    kept = json.loads(chosen.out.with_suffix(".json").read_text())
    dataset = open_dataset(ensure_dataset(chosen.data))
    task = build_task(dataset, ProtocolSettings(protocol="next", ks=(K,)), seed=chosen.seed)
    ranker = baseline("sasrec", **SASREC)().fit(task.training, task.validation, seed=task.seed)
    found, there = ask_rectools(chosen.other, "same weights", given(ranker, task))
    row = compared(ranker.score([case.support for case in task.cases[K]]), found["scores sasrec"])
    run = {"commit": commit("src", "benchmarks"), "here": versions_here(), "there": there}
    write_page(chosen.out, kept | {"same weights": {**run, "row": asdict(row), "remark": REMARK}})
    print(f"{row.what}: {row.difference:.1e}")
    return int(row.difference > row.tolerance)


def given(ranker: SASRec, task: EvaluationTask) -> dict[str, NDArray[np.generic]]:
    """Return what the other side needs: the weights by their names, the shape, supports and candidates."""
    layers = ranker.net.layers
    shape = {
        "num_items": task.training.num_items,
        "num_blocks": len(layers),
        "num_heads": layers[0].attention.num_heads,
        "num_times": layers[0].linear1.out_features // layers[0].linear1.in_features,
    }
    weights = {f"net {name}": value.numpy() for name, value in ranker.net.state_dict().items()}
    # A history of K events has each of its positions at one index: RecTools' one table holds the sum.
    indices_LD = weights.pop("net indices.weight")
    weights["net positions.weight"][:K] += indices_LD[:K][::-1]
    return {
        **weights,
        **{name: np.array(value) for name, value in shape.items()},
        "support": pairs([case.support.items_K for case in task.cases[K]]),
        "candidates": np.flatnonzero(task.candidates_V),
    }


def compared(ours_BV: Floats, theirs_BV: NDArray[np.float64]) -> Row:
    """Compare the scores of all candidates that are not in the user's support, NaN in theirs."""
    known_BV = np.isfinite(theirs_BV)
    count = f"{int(known_BV.sum()):,}"
    scale = float(np.abs(theirs_BV[known_BV]).max())
    return Row(
        what=f"sasrec, the same weights: scores of {count} candidates, in units of the largest score",
        ours=None,
        theirs=None,
        difference=float(np.abs(ours_BV.astype(np.float64) - theirs_BV)[known_BV].max()) / scale,
        tolerance=TOLERANCE,
        why="fixed before the run: float32, sums in another order",
    )


REMARK = """\
- SASRec with the same weights: the two computations, after our training on one split, `next`. Theirs is
  `SASRecModel` with other modules of RecTools: `LiGRLayers` with a feed-forward of twice the width (eSASRec),
  `LearnableInversePositionalEncoding` and the padding mask, built without an epoch of training; its
  data path reads the supports and ranks. One piece is added: a LayerNorm after the last block, which
  `LiGRLayers` lacks. RecTools has one table of positions: supports hold ten events, so that it takes the sum
  of ours of positions and indices. Every other tensor of ours fills one of theirs and none is left over;
  `benchmarks/agreement_rectools.py` lists the names. Not distinguished: with one block the newest position
  sees all others, whatever the causal mask; and ten of fifty positions are read (the other forty are padding
  there and absent here).
- By default, and in the row of two trainings, the design of `SASRecModel` is another: only the attention's
  query is normed, and the attention's result is added to it, not to the input; the feed-forward is as wide as
  the input, with ReLU, and its result is added to its normed input; padded positions are set to zero before
  each block, but take part in the attention. Our weights have no place in such blocks.
"""


if __name__ == "__main__":
    sys.exit(main())
