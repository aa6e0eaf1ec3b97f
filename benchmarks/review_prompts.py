"""Whether a soft prompt, adapted to what a user wrote, makes that user's next review more likely.

    python benchmarks/review_prompts.py --reviews DATA/Musical_Instruments_5.json.gz --name instruments

A user is a task. The support is K reviews, the query the one that follows them. The measure is the negative
log-likelihood per token of the query through the whole language model. Everything is chosen on validation
users. Resumable: what is made lies in cells under `--cells`, each made once, and `--page-only` writes the
page from the cells there are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from review_cells import Cells, pasted_losses, query_losses, review_gradients
from review_page import write_page
from review_texts import Writers, read_writers
from torch import Tensor

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import LearnerState
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.task import Task
from warmprompt.meta.text_likelihood import TextLikelihood, TextModel, load_text_model, pack_texts
from warmprompt.meta.text_prompts import PromptParams, SubspacePrompt, WholePrompt
from warmprompt.meta.trainer import rise_and_fall
from warmprompt.meta.user_directions import UserDirections, fit_user_directions, posterior_step
from warmprompt.rng import derive

LEAD = "Reviews that one customer wrote:"
FIRST_WORDS = "\n\nThis is a review of a musical product"
NUM_VECTORS = 8
KS = (1, 2, 4)
MAX_TOKENS = 32
SHARED_STEPS, SHARED_BATCH, SHARED_RATE = 60, 8, 0.02
TRAIN_REVIEWS = 3
PLAIN_SHARES = (0.003, 0.01, 0.03)
NUM_DIRECTIONS = (64, 256)
RATES = (1 / 32, 1 / 16, 1 / 8)
LEARNER_ORDER = ("multitask", "reptile", "fomaml", "meta-sgd", "maml")
LEARNER_STEPS, LEARNER_BATCH, LEARNER_RATE = 30, 4, 0.0003
MIN_SHARED = 0.01


@dataclass(frozen=True, kw_only=True)
class Study:
    """Models, users and cells that all rows share.

    Attributes:
        lm: Reads the texts.
        writers: All users.
        validation: Validation users that choices look at.
        test: Tested users.
        cells: What has been made.
        seed: Of everything.
    """

    lm: TextModel
    writers: Writers
    validation: list[list[list[int]]]
    test: list[list[list[int]]]
    cells: Cells
    seed: int


def main() -> None:
    """Read the options, make what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=Path, required=True, help="JSON lines, gzip, of Amazon reviews")
    parser.add_argument("--name", required=True)
    parser.add_argument("--cells", type=Path, default=Path("runs/review-prompts"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/review-prompts"))
    parser.add_argument("--backbone", default="smollm2-135m")
    parser.add_argument("--gradient-users", type=int, default=150)
    parser.add_argument("--validation-users", type=int, default=30)
    parser.add_argument("--test-users", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page-only", action="store_true", help="from the cells there are")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cells = Cells(chosen.cells / chosen.name)
    if not chosen.page_only:
        lm = load_text_model(chosen.backbone, lead=LEAD)
        writers = read_writers(
            chosen.reviews, lm.ids, max_tokens=MAX_TOKENS, min_reviews=max(KS) + 1, seed=chosen.seed
        )
        print(writers.counts, flush=True)
        study = Study(
            lm=lm,
            writers=writers,
            validation=writers.validation[: chosen.validation_users],
            test=writers.test[: chosen.test_users],
            cells=cells,
            seed=chosen.seed,
        )
        cells.of(
            {
                "backbone": chosen.backbone,
                "users": [chosen.gradient_users, chosen.validation_users, chosen.test_users],
                "seed": chosen.seed,
                "tokens": MAX_TOKENS,
            }
        )
        run(study, chosen.gradient_users, chosen.backbone)
    write_page(chosen.out, chosen.cells)


def run(study: Study, gradient_users: int, backbone: str) -> None:
    """Make every cell, the most telling ones first."""
    shared_PH = shared_prompt(study)
    gradients = review_gradients(
        study.cells,
        "gradients/training",
        study.lm,
        shared_PH,
        [reviews[-TRAIN_REVIEWS:] for reviews in study.writers.training[:gradient_users]],
    )
    owner_N = torch.arange(len(gradients)).repeat_interleave(TRAIN_REVIEWS)
    found = fit_user_directions(
        torch.from_numpy(gradients).flatten(0, 1), owner_N, num_directions=max(NUM_DIRECTIONS)
    )
    values = gradients_of_users(study, shared_PH, "validation")
    share = choose(
        study,
        shared_PH,
        "plain",
        {f"{share}": lambda k, share=share: plain(values, k, share, shared_PH) for share in PLAIN_SHARES},
    )
    name = choose(
        study,
        shared_PH,
        "posterior",
        {
            f"{num}-{rate:.4f}": lambda k, num=num, rate=rate: stepped(values, k, found, num, rate)
            for num in NUM_DIRECTIONS
            for rate in RATES
        },
    )
    num, rate = int(name.partition("-")[0]), float(name.partition("-")[2])
    tests = gradients_of_users(study, shared_PH, "test")
    one_H = study.lm.embed(study.lm.ids("\n\n"))
    study.cells.array("test/none", lambda: losses_at(study, one_H))
    study.cells.array("test/shared", lambda: losses_at(study, shared_PH))
    for k in KS:
        rows(study, shared_PH, "posterior", k, stepped(tests, k, found, num, rate))
    for k in KS:
        pasted(study, "pasted", one_H, k)
    for k in KS:
        rows(study, shared_PH, "plain", k, plain(tests, k, float(share), shared_PH))
    for k in KS:
        pasted(study, "shared-pasted", shared_PH, k)
    start = subspace_params(shared_PH, found, num, rate)
    for learner in LEARNER_ORDER:
        learned(study, learner, start, backbone)


def shared_prompt(study: Study) -> Tensor:
    """Return the shared prompt, fine-tuned on reviews of training users (multi-task), (P, H)."""
    first_PH = study.lm.embed(study.lm.ids(FIRST_WORDS, max_tokens=NUM_VECTORS)).clone()
    learner = LEARNERS["multitask"]
    state = study.cells.state("shared") or learner.init({"prompt.start": first_PH})
    none = pack_texts([[]] * SHARED_BATCH)
    while state.step < SHARED_STEPS:
        rng = derive(study.seed, "shared", state.step)
        users = rng.choice(len(study.writers.training), SHARED_BATCH, replace=False)
        own = [study.writers.training[user] for user in users]
        query = pack_texts([[reviews[rng.integers(len(reviews))]] for reviews in own])
        task = Task(
            adapter=WholePrompt(features_BT=torch.zeros(SHARED_BATCH, 0)),
            objective=TextLikelihood(lm=study.lm, support=none, query=query),
            data=PromptParams,
        )
        rate = SHARED_RATE * rise_and_fall(state.step, SHARED_STEPS)
        state, seen = learner.step(state, task, rate=rate, clip_norm=1.0)
        print("shared", state.step, round(seen.loss, 3), flush=True)
        if state.step % 5 == 0:
            study.cells.save_state("shared", state)
    return state.params["prompt.start"]


def gradients_of_users(study: Study, prompt_PH: Tensor, part: str, at: str = "shared") -> Tensor:
    """Return gradients of the reviews that supports are taken from, (users, K, P H), oldest first."""
    users = study.test if part == "test" else study.validation
    supports = [reviews[-max(KS) - 1 : -1] for reviews in users]
    return torch.from_numpy(
        review_gradients(study.cells, f"gradients/{at}-{part}", study.lm, prompt_PH, supports)
    )


def plain(gradients: Tensor, k: int, share: float, shared_PH: Tensor) -> Tensor:
    """Return one plain gradient step whose length is a share of the prompt's norm, (users, P H)."""
    mean_BX = gradients[:, -k:].mean(1)
    return -share * shared_PH.norm() * mean_BX / mean_BX.norm(dim=1, keepdim=True)


def stepped(gradients: Tensor, k: int, found: UserDirections, num: int, rate: float) -> Tensor:
    """Return the posterior step in the first directions, (users, P H)."""
    kept = replace(found, directions_ZX=found.directions_ZX[:num], shared_Z=found.shared_Z[:num])
    return posterior_step(kept, gradients[:, -k:].mean(1), k, rate=rate).float()


def losses_at(study: Study, prompts: Tensor, part: str = "test") -> np.ndarray:
    """Return every user's loss on the last review at one prompt for all, (P, H), or one each."""
    users = study.test if part == "test" else study.validation
    prompts_BPH = prompts if prompts.dim() == 3 else prompts.expand(len(users), -1, -1)
    return query_losses(study.lm, prompts_BPH, [reviews[-1] for reviews in users])


def choose(study: Study, shared_PH: Tensor, name: str, options: dict[str, Callable[[int], Tensor]]) -> str:
    """Return the option of least mean loss over validation users at the largest K."""
    losses = {}
    for option, move in options.items():
        losses[option] = study.cells.array(
            f"validation/{name}-{option}",
            lambda move=move: losses_at(
                study, shared_PH + move(max(KS)).view(-1, *shared_PH.shape), "validation"
            ),
        ).mean()
        print(name, option, round(losses[option], 4), flush=True)
    base = study.cells.array("validation/shared", lambda: losses_at(study, shared_PH, "validation"))
    print("shared", round(base.mean(), 4), flush=True)
    return min(losses, key=losses.__getitem__)


def rows(study: Study, start_PH: Tensor, name: str, k: int, moves_BX: Tensor) -> None:
    """Make the losses at each user's own prompt and, as a control, at the next user's."""
    prompts_BPH = start_PH + moves_BX.view(-1, *start_PH.shape)
    for who, shift in (("own", 0), ("other", 1)):
        study.cells.array(
            f"test/{name}-{k}-{who}", lambda shift=shift: losses_at(study, prompts_BPH.roll(-shift, 0))
        )


def pasted(study: Study, name: str, front_PH: Tensor, k: int) -> None:
    """Make the losses behind a user's own support in the context and, as a control, another's."""
    supports = [reviews[-k - 1 : -1] for reviews in study.test]
    queries = [reviews[-1] for reviews in study.test]
    for who, shift in (("own", 0), ("other", 1)):
        turned = supports[shift:] + supports[:shift]
        study.cells.array(
            f"test/{name}-{k}-{who}", lambda turned=turned: pasted_losses(study.lm, front_PH, turned, queries)
        )


def subspace_params(shared_PH: Tensor, found: UserDirections, num: int, rate: float) -> dict[str, Tensor]:
    """Return parameters whose one inner step is about the posterior step."""
    kept = [index for index, shared in enumerate(found.shared_Z[:num]) if shared > MIN_SHARED]
    directions_ZX, shared_Z = rate**0.5 * found.directions_ZX[kept], found.shared_Z[kept]
    kappa = (1 - shared_Z.mean()) / shared_Z.mean()
    weights_Z = 2 * shared_Z / (1 + shared_Z) * (2 + kappa) / 2
    at_two_Z = weights_Z * 2 / (2 + kappa)
    params = {
        "prompt.start": shared_PH,
        "user.start": at_two_Z * (directions_ZX @ found.mean_X),
        "prompt.directions": directions_ZX.view(-1, *shared_PH.shape),
        "prompt.log_rates": weights_Z.log(),
        "inner.log_rates": torch.zeros(1),
        "support.log_kappa": kappa.log(),
    }
    return {name: value.float() for name, value in params.items()}


def learned(study: Study, name: str, start: dict[str, Tensor], backbone: str) -> None:
    """Train a learner from the subspace's start, then make its rows: its start, and one step from it."""
    learner = LEARNERS[name]
    state = study.cells.state(name) or learner.init(start)
    lm = study.lm
    if learner.needs_second_order and state.step < LEARNER_STEPS:
        lm = load_text_model(backbone, lead=LEAD, exact=True)
    while state.step < LEARNER_STEPS:
        task = episode(study, lm, state.step)
        rate = LEARNER_RATE * rise_and_fall(state.step, LEARNER_STEPS)
        state, seen = learner.step(state, task, rate=rate, clip_norm=1.0)
        print(name, state.step, round(seen.loss, 3), flush=True)
        if state.step % 5 == 0:
            study.cells.save_state(name, state)
    tested(study, name, state)


def episode(study: Study, lm: TextModel, step: int) -> Task:
    """Return a batch of training users: K reviews in a row and the one behind them."""
    rng = derive(study.seed, "episode", step)
    users = rng.choice(len(study.writers.training), LEARNER_BATCH, replace=False)
    support, query = [], []
    for user in users:
        reviews, k = study.writers.training[user], int(rng.choice(KS))
        end = int(rng.integers(k, len(reviews)))
        support.append(reviews[end - k : end])
        query.append([reviews[end]])
    objective = TextLikelihood(lm=lm, support=pack_texts(support), query=pack_texts(query))
    return Task(
        adapter=SubspacePrompt(features_BT=torch.zeros(LEARNER_BATCH, 0)),
        objective=objective,
        data=PromptParams,
    )


def tested(study: Study, name: str, state: LearnerState) -> None:
    """Make a learner's rows."""
    adapter, model = SubspacePrompt(features_BT=torch.zeros(1, 0)), PromptParams.at(state.params)
    start_1Z = state.params["user.start"][None]
    start_PH = adapter.users(model, start_1Z)[0]
    study.cells.array(f"test/{name}-0", lambda: losses_at(study, start_PH))

    def moved(k: int) -> Tensor:
        parts = []
        for user in study.test:
            texts = pack_texts([user[-k - 1 : -1]])
            objective = TextLikelihood(lm=study.lm, support=texts, query=texts)
            rates = adapter.rates(state.params)
            parts.append(adapt(start_1Z, objective.inner_loss(model, adapter), rates=rates))
        return torch.cat(parts)

    for k in KS:
        moved_BZ = torch.from_numpy(study.cells.array(f"moved/{name}-{k}", lambda k=k: moved(k).numpy()))
        rows(study, start_PH, name, k, (adapter.users(model, moved_BZ) - start_PH).flatten(1))


if __name__ == "__main__":
    main()
