"""What leaving out words costs, and how near it comes to adapting to each remaining text by itself.

    python benchmarks/left_out_words.py runs/demo OTHER_RUN

Users of ten made-up events and a sentence; the first ten items of each ranking. `each text measured` adapts
to every variant as `Personaliser.adapt_many` does, `found from the whole text's` as explanations do. Prints
rows for docs/results/explanations.md; seconds are processor time of one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from warmprompt.adaptation.explain import _known, _omissions
from warmprompt.adaptation.opening import open_run
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.adaptation.variants import states_of_variants
from warmprompt.rng import derive
from warmprompt.types import Event

SENTENCES = (
    "I love dark crime films and quiet drama",
    "I like funny romantic comedies but no horror please",
    "science fiction and space adventure are what I watch on weekends with my kids and their friends",
)
NUM_EVENTS = 10


def main() -> None:
    """Measure each run with each sentence, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    torch.set_num_threads(1)
    head = "factors | words | each text measured, s | found from the whole text's, s"
    print(f"| {head} | mean size of effects | mean error | largest error |\n{'|---' * 7}|")
    for folder in parser.parse_args().runs:
        model = open_run(folder)
        torch.set_num_threads(1)
        for number, sentence in enumerate(SENTENCES):
            print(row(model, sentence, number), flush=True)


def row(model: Personaliser, sentence: str, number: int) -> str:
    """Return one row of the table."""
    popular = np.argsort(-model.engine.popularity_V.numpy())[:300]
    rng = derive(0, "left-out-words", number)
    drawn = rng.choice(popular, NUM_EVENTS, replace=False)
    events = [Event(item=model.items[position], rating=float(rng.integers(2, 6))) for position in drawn]
    state = model.adapt(events, about=sentence)
    users = [_known(state), *(one.known for one in _omissions(state))]
    begun_s = time.process_time()
    apart = effects(model, state, model.adapt_many(users))
    between_s = time.process_time()
    found = effects(model, state, states_of_variants(model, users))
    ended_s = time.process_time()
    error = np.abs(found - apart)[NUM_EVENTS:]
    return (
        f"| {model.engine.catalogue_VD.shape[1]} | {len(sentence.split())} | {between_s - begun_s:.2f} "
        f"| {ended_s - between_s:.2f} | {np.abs(apart[NUM_EVENTS:]).mean():.3f} | {error.mean():.4f} "
        f"| {error.max():.4f} |"
    )


def effects(model: Personaliser, state: UserState, states: list[UserState]) -> np.ndarray:
    """Return what each omission takes from each of the user's first ten items."""
    shown = [model.index[item] for item in model.rank(state, 10).items]
    vectors = torch.tensor(np.stack([one.vector_D for one in states]))
    scores = (vectors @ model.engine.catalogue_VD.T).double().numpy()
    centred = scores - scores.mean(axis=1, keepdims=True)
    return (centred[0] - centred[1:])[:, shown]


if __name__ == "__main__":
    main()
