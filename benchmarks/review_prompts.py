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
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from review_cells import CHUNK, Cells, pasted_losses, query_losses, review_gradients
from review_page import write_page
from review_texts import read_writers
from torch import Tensor

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
NUM_DIRECTIONS = 128
DAMPINGS = (0.03, 0.1, 0.3)
RATES = (1 / 32, 1 / 16, 1 / 8)
LEARNER_ORDER = ("multitask", "reptile", "fomaml", "meta-sgd", "maml")
LEARNER_STEPS, LEARNER_BATCH, LEARNER_RATE = 20, 4, 0.01
# Of prompts against rates of the inner loop: coordinates of embeddings are about .1.
UNIT = 0.03
MIN_SHARED = 0.01


@dataclass(frozen=True, kw_only=True)
class Study:
    """Models, users and cells that all rows share.

    Attributes:
        lm: Reads the texts.
        training: Training users.
        validation: Blocks of `CHUNK` validation users that choices look at.
        test: Blocks of `CHUNK` tested users; another user is the next one in the block.
        cells: What has been made of training and validation users.
        test_cells: What has been made of tested users.
        seed: Of everything.
        context_blocks: Tested blocks with rows of contexts.
        learner_blocks: Tested blocks with rows of learners.
    """

    lm: TextModel
    training: list[list[list[int]]]
    validation: list[list[list[list[int]]]]
    test: list[list[list[list[int]]]]
    cells: Cells
    test_cells: Cells
    seed: int
    context_blocks: int
    learner_blocks: int


def main() -> None:
    """Read the options, make what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=Path, help="JSON lines, gzip, of Amazon reviews")
    parser.add_argument("--name", help="of the folder of cells and of the table")
    parser.add_argument(
        "--test-reviews", type=Path, help="other reviews to test on; nothing is trained there"
    )
    parser.add_argument("--test-name")
    parser.add_argument("--cells", type=Path, default=Path("runs/review-prompts"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/review-prompts"))
    parser.add_argument("--backbone", default="smollm2-135m")
    parser.add_argument("--gradient-users", type=int, default=150, help="training users for directions")
    parser.add_argument("--validation-blocks", type=int, default=2, help=f"of {CHUNK} users")
    parser.add_argument("--test-blocks", type=int, default=8, help=f"of {CHUNK} users")
    parser.add_argument("--context-blocks", type=int, default=5, help="tested blocks with rows of contexts")
    parser.add_argument("--learner-blocks", type=int, default=6, help="tested blocks with rows of learners")
    parser.add_argument("--learners", default=",".join(LEARNER_ORDER))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page-only", action="store_true", help="from the cells there are")
    chosen = parser.parse_args()
    if not chosen.page_only and not (chosen.reviews and chosen.name):
        parser.error("--reviews and --name are needed, or --page-only")
    torch.set_num_threads(1)
    if not chosen.page_only:
        cells = Cells(chosen.cells / chosen.name)
        lm = load_text_model(chosen.backbone, lead=LEAD)
        read = partial(
            read_writers, tokens=lm.ids, max_tokens=MAX_TOKENS, min_reviews=max(KS) + 1, seed=chosen.seed
        )
        writers = read(chosen.reviews)
        tested = read(chosen.test_reviews).test if chosen.test_reviews else writers.test
        print(writers.counts, flush=True)
        training = writers.training
        gradient_users = min(chosen.gradient_users, len(training))
        cells.check(
            {"backbone": chosen.backbone, "seed": chosen.seed, "gradient users": gradient_users}
            | {"validation blocks": chosen.validation_blocks, **writers.counts}
        )
        study = Study(
            lm=lm,
            training=training,
            validation=blocks(writers.validation)[: chosen.validation_blocks],
            test=blocks(tested)[: chosen.test_blocks],
            cells=cells,
            test_cells=Cells(chosen.cells / (chosen.test_name or chosen.name)),
            seed=chosen.seed,
            context_blocks=chosen.context_blocks,
            learner_blocks=chosen.learner_blocks,
        )
        run(study, gradient_users, [name for name in chosen.learners.split(",") if name], chosen.backbone)
    write_page(chosen.out, chosen.cells)


def blocks(users: list[list[list[int]]]) -> list[list[list[list[int]]]]:
    """Return whole blocks of users."""
    return [users[start : start + CHUNK] for start in range(0, len(users) - CHUNK + 1, CHUNK)]


def run(study: Study, gradient_users: int, learners: list[str], backbone: str) -> None:
    """Make every cell, the most telling ones first."""
    shared_PH = shared_prompt(study)
    found = directions(study, shared_PH, gradient_users)
    options = {
        f"{damping}-{rate:.4f}": partial(stepped, found=found, damping=damping, rate=rate)
        for damping, rate in product(DAMPINGS, RATES)
    }
    posterior = options[choose(study, shared_PH, "posterior", options)]
    one_H = study.lm.embed(study.lm.ids("\n\n"))
    for index in range(len(study.test)):
        for name, prompt in (("none", one_H), ("shared", shared_PH)):
            unadapted(study, name, index, prompt)
    stepwise(study, shared_PH, max(KS), {"posterior": posterior})
    contexts(study, shared_PH, max(KS))
    share = choose(
        study,
        shared_PH,
        "plain",
        {f"{share}": partial(plain, share=share, shared_PH=shared_PH) for share in PLAIN_SHARES},
    )
    move = partial(plain, share=float(share), shared_PH=shared_PH)
    stepwise(study, shared_PH, max(KS), {"plain": move})
    start = subspace_params(shared_PH, **posterior.keywords)
    for learner in learners:
        learned(study, learner, start, backbone, max(KS))
    for k in KS:
        stepwise(study, shared_PH, k, {"posterior": posterior, "plain": move})
        contexts(study, shared_PH, k)
    for k, learner in product(KS, learners):
        learned(study, learner, start, backbone, k)


def shared_prompt(study: Study) -> Tensor:
    """Return the shared prompt, fine-tuned on reviews of training users (multi-task), (P, H)."""
    first_PH = study.lm.embed(study.lm.ids(FIRST_WORDS, max_tokens=NUM_VECTORS)).clone()
    learner = LEARNERS["multitask"]
    state = study.cells.state("shared") or learner.init({"prompt.start": first_PH})
    none = pack_texts([[]] * SHARED_BATCH)
    while state.step < SHARED_STEPS:
        rng = derive(study.seed, "shared", state.step)
        users = rng.choice(len(study.training), SHARED_BATCH, replace=False)
        own = [study.training[user] for user in users]
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


def directions(study: Study, shared_PH: Tensor, num_users: int) -> UserDirections:
    """Return the directions in which training users differ at the shared prompt."""
    users = [reviews[-TRAIN_REVIEWS:] for reviews in study.training[:num_users]]
    parts = [
        study.cells.array(
            f"gradients/training/{index:03d}",
            partial(review_gradients, study.lm, shared_PH, users[start : start + CHUNK]),
        )
        for index, start in enumerate(range(0, num_users, CHUNK))
    ]
    gradients_NX = torch.from_numpy(np.concatenate(parts)).flatten(0, 1)
    owner_N = torch.arange(num_users).repeat_interleave(TRAIN_REVIEWS)
    return fit_user_directions(gradients_NX, owner_N, num_directions=NUM_DIRECTIONS)


def gradients_of_users(study: Study, prompt_PH: Tensor, part: str, index: int, at: str = "shared") -> Tensor:
    """Return gradients of the reviews that supports are taken from, (B, K, P H), oldest first."""
    tested = part == "test"
    users, cells = (study.test, study.test_cells) if tested else (study.validation, study.cells)
    supports = [reviews[-max(KS) - 1 : -1] for reviews in users[index]]
    make = partial(review_gradients, study.lm, prompt_PH, supports)
    return torch.from_numpy(cells.array(f"gradients/{at}-{part}/{index:03d}", make))


def plain(gradients: Tensor, k: int, share: float, shared_PH: Tensor) -> Tensor:
    """Return one plain gradient step whose length is a share of the prompt's norm, (users, P H)."""
    mean_BX = gradients[:, -k:].mean(1)
    return -share * shared_PH.norm() * mean_BX / mean_BX.norm(dim=1, keepdim=True)


def stepped(gradients: Tensor, k: int, found: UserDirections, damping: float, rate: float) -> Tensor:
    """Return the posterior step, (users, P H)."""
    return posterior_step(found, gradients[:, -k:].mean(1), k, rate=rate, damping=damping).float()


def losses_at(study: Study, users: list[list[list[int]]], prompts: Tensor) -> np.ndarray:
    """Return every user's loss on the last review at one prompt for all, (P, H), or one each."""
    prompts_BPH = prompts if prompts.dim() == 3 else prompts.expand(len(users), -1, -1)
    return query_losses(study.lm, prompts_BPH, [reviews[-1] for reviews in users])


def choose(
    study: Study, shared_PH: Tensor, name: str, options: dict[str, Callable[[Tensor, int], Tensor]]
) -> str:
    """Return the option of least mean loss over validation users at the largest K."""
    losses: dict[str, list[np.ndarray]] = {"shared": []}
    for index, users in enumerate(study.validation):
        gradients = gradients_of_users(study, shared_PH, "validation", index)
        at = partial(losses_at, study, users)
        losses["shared"] += [study.cells.array(f"validation/shared/{index:03d}", partial(at, shared_PH))]
        for option, move in options.items():
            prompts = shared_PH + move(gradients, max(KS)).view(-1, *shared_PH.shape)
            made = study.cells.array(f"validation/{name}-{option}/{index:03d}", partial(at, prompts))
            losses.setdefault(option, []).append(made)
    means = {option: float(np.concatenate(made).mean()) for option, made in losses.items()}
    print(name, {option: round(mean, 4) for option, mean in means.items()}, flush=True)
    return min(options, key=means.__getitem__)


def unadapted(study: Study, name: str, index: int, prompt_PH: Tensor) -> None:
    """Make the losses of a block of tested users at one prompt."""
    make = partial(losses_at, study, study.test[index], prompt_PH)
    study.test_cells.array(f"test/{name}/{index:03d}", make)


def stepwise(
    study: Study, shared_PH: Tensor, k: int, steps: dict[str, Callable[[Tensor, int], Tensor]]
) -> None:
    """Make the rows of steps from the shared prompt."""
    for index, (name, move) in product(range(len(study.test)), steps.items()):
        gradients = gradients_of_users(study, shared_PH, "test", index)
        adapted(study, name, index, k, shared_PH, move(gradients, k))


def adapted(study: Study, name: str, index: int, k: int, start_PH: Tensor, moves_BX: Tensor) -> None:
    """Make the losses of a block at each user's own prompt and, as a control, at the next user's."""
    prompts_BPH = start_PH + moves_BX.view(-1, *start_PH.shape)
    for who, shift in (("own", 0), ("other", 1)):
        make = partial(losses_at, study, study.test[index], prompts_BPH.roll(-shift, 0))
        study.test_cells.array(f"test/{name}-{k}-{who}/{index:03d}", make)


def contexts(study: Study, shared_PH: Tensor, k: int) -> None:
    """Make the losses behind each user's own support in the context and behind the next user's."""
    for index, users in enumerate(study.test[: study.context_blocks]):
        supports, queries = [reviews[-k - 1 : -1] for reviews in users], [reviews[-1] for reviews in users]
        for name, prompt in (("pasted", None), ("pasted-shared", shared_PH)):
            for who, shift in (("own", 0), ("other", 1)):
                turned = supports[shift:] + supports[:shift]
                make = partial(pasted_losses, study.lm, turned, queries, prompt)
                study.test_cells.array(f"test/{name}-{k}-{who}/{index:03d}", make)


def subspace_params(
    shared_PH: Tensor, found: UserDirections, damping: float, rate: float
) -> dict[str, Tensor]:
    """Return parameters whose one inner step is about the posterior step, and about equal to it at K = 2."""
    shared_Z = found.shared_Z.clamp(min=MIN_SHARED)
    precision_Z = found.directions_ZX.square().sum(1)
    damped_Z = 1 / (1 + damping * precision_Z / precision_Z.min())
    directions_ZX = (rate * damped_Z).sqrt()[:, None] * found.directions_ZX
    kappa = (1 - shared_Z.mean()) / shared_Z.mean()
    at_two_Z = 2 * shared_Z / (1 + shared_Z)
    weights_Z = at_two_Z * (2 + kappa) / 2
    params = {
        "prompt.start": shared_PH / UNIT,
        "user.start": at_two_Z * (directions_ZX @ found.mean_X),
        "prompt.directions": directions_ZX.view(-1, *shared_PH.shape) / UNIT,
        "prompt.log_rates": weights_Z.log(),
        "inner.log_rates": torch.zeros(1),
        "support.log_kappa": kappa.log(),
    }
    return {name: value.float() for name, value in params.items()}


def learned(study: Study, name: str, start: dict[str, Tensor], backbone: str, k: int) -> None:
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
    tested(study, name, state, k)


def episode(study: Study, lm: TextModel, step: int) -> Task:
    """Return a batch of training users: K reviews in a row and the one behind them."""
    rng = derive(study.seed, "episode", step)
    users = rng.choice(len(study.training), LEARNER_BATCH, replace=False)
    support, query = [], []
    for user in users:
        reviews, k = study.training[user], int(rng.choice(KS))
        end = int(rng.integers(k, len(reviews)))
        support.append(reviews[end - k : end])
        query.append([reviews[end]])
    objective = TextLikelihood(lm=lm, support=pack_texts(support), query=pack_texts(query))
    return Task(
        adapter=SubspacePrompt(features_BT=torch.zeros(LEARNER_BATCH, 0), unit=UNIT),
        objective=objective,
        data=PromptParams,
    )


def tested(study: Study, name: str, state: LearnerState, k: int) -> None:
    """Make a learner's rows."""
    adapter, params = SubspacePrompt(features_BT=torch.zeros(1, 0), unit=UNIT), state.params
    start_PH = adapter.users(PromptParams.at(params), params["user.start"][None])[0]
    for index in range(len(study.test[: study.learner_blocks])):
        unadapted(study, f"{name}-0", index, start_PH)
        gradients_BKX = gradients_of_users(study, start_PH, "test", index, name)[:, -k:]
        supports = [reviews[-k - 1 : -1] for reviews in study.test[index]]
        lengths_BK = torch.tensor([[len(review) for review in support] for support in supports])
        adapted(study, name, index, k, start_PH, one_step(params, gradients_BKX, lengths_BK))


def one_step(params: dict[str, Tensor], gradients_BKX: Tensor, lengths_BK: Tensor) -> Tensor:
    """Return what the inner loop's one step does to a prompt, (B, P H), from gradients at the start.

    Losses are per token over all texts, so a text's gradient weighs as many tokens as the text has.
    """
    k = lengths_BK.shape[1]
    shares_BK = lengths_BK / lengths_BK.sum(1, keepdim=True) * k / (k + params["support.log_kappa"].exp())
    slopes_BX = torch.einsum("bk,bkx->bx", shares_BK, gradients_BKX)
    directions_ZX = UNIT * params["prompt.directions"].flatten(1)
    rates_Z = params["inner.log_rates"].exp() * params["prompt.log_rates"].exp()
    return -(slopes_BX @ directions_ZX.T * rates_Z) @ directions_ZX


if __name__ == "__main__":
    main()
