"""What all learners share: a state, an optimiser, and the pair (init, step).

A learner differs from another only in its meta-gradient: how the loss on query
events, after prompts have been adapted on support events, tells parameters to move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from warmprompt.errors import NotFiniteError
from warmprompt.meta.adapters import AdapterKind, by_steps
from warmprompt.meta.model import Params
from warmprompt.meta.objectives import CatalogueLikelihood, LearnedTarget
from warmprompt.meta.sampled_items import PER_ITEM
from warmprompt.meta.task import Task
from warmprompt.meta.workers import ALONE, Workers

MetaGradient = Callable[[Params, Task], "Outer"]

# Step sizes relative to the outer rate. Item tables have many weights and little data each.
RELATIVE_RATE: Mapping[str, float] = {
    "items.": 0.03,
    "popularity.": 0.3,
    "target.": 0.1,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Outer:
    """A meta-gradient and the loss it was taken at.

    Attributes:
        loss: Mean query loss over the batch, nats.
        gradients: Per parameter; parameters missing here stay as they are.
    """

    loss: Tensor
    gradients: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnerState:
    """Parameters and the optimiser's moments.

    Attributes:
        params: Flat dictionary of tensors that carry no gradient.
        first: First moments, as `params`.
        second: Second moments, as `params`.
        step: Outer steps taken.
    """

    params: dict[str, Tensor]
    first: dict[str, Tensor]
    second: dict[str, Tensor]
    step: int


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one outer step saw: mean query loss in nats and the gradient's norm before clipping."""

    loss: float
    gradient_norm: float


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A pair of pure functions.

    Attributes:
        name: As settings and tables call it.
        gradient: The meta-gradient.
        needs_second_order: Whether attention must be differentiable twice.
        objective: What adaptation to events in a catalogue is to explain.
        adapter: How user vectors answer: steps, ridge regression, or not at all.
    """

    name: str
    gradient: MetaGradient
    needs_second_order: bool = False
    objective: type[CatalogueLikelihood | LearnedTarget] = CatalogueLikelihood
    adapter: AdapterKind = by_steps

    def init(self, params: Params) -> LearnerState:
        """Return the state before the first step; parameters are copied."""
        return LearnerState(
            params={name: value.detach().clone() for name, value in params.items()},
            first={name: torch.zeros_like(value) for name, value in params.items()},
            second={name: torch.zeros_like(value) for name, value in params.items()},
            step=0,
        )

    def step(  # noqa: PLR0913 - the step, then whose part of it
        self,
        state: LearnerState,
        task: Task | None,
        *,
        rate: float,
        clip_norm: float,
        weight_decay: float = 0.0,
        share: float = 1.0,
        workers: Workers = ALONE,
        rows_S: Tensor | None = None,
    ) -> tuple[LearnerState, StepReport]:
        """Return the state after one outer step (AdamW), and what it saw; `state` is not written to.

        A step over a sample of the items writes into the rows of `state`'s item tables: a copy of a million
        rows would cost more than the step. Rows outside the sample and their moments stay as they are.

        Args:
            state: From `init` or an earlier step.
            task: A batch of users, or what of it is this worker's; None where that is nobody.
            rate: Outer rate; `RELATIVE_RATE` scales it per parameter.
            clip_norm: Largest norm of the whole meta-gradient.
            weight_decay: Decoupled decay, relative to the rate.
            share: This worker's users over those of the batch.
            workers: Among whom the batch is divided; each returns the same state, to the bit.
            rows_S: Items that the task is over, by their index; None for all.

        Raises:
            NotFiniteError: A loss or gradient became NaN or infinite.
            WorkerLostError: Another worker has ended or does not answer.

        Source: Loshchilov & Hutter 2019, algorithm 2.
        """
        leaves = {
            name: rows_of(name, value, rows_S).detach().requires_grad_()
            for name, value in state.params.items()
        }
        outer = None if task is None else self.gradient(leaves, task)
        outer = _of_all_workers(outer, leaves, share, workers)
        norm = _norm(outer.gradients)
        if not (torch.isfinite(outer.loss) and torch.isfinite(norm)):
            raise NotFiniteError(
                field=f"meta-gradient of {self.name} at step {state.step}",
                value=f"loss {outer.loss.item()}, norm {norm.item()}",
                remedy="Lower train.tangent_lr or train.prompt_lr, or inner.rate.",
            )
        scale = (clip_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        gradients = {name: gradient * scale for name, gradient in outer.gradients.items()}
        moved = _adamw(state, gradients, rate=rate, weight_decay=weight_decay, rows_S=rows_S)
        return moved, StepReport(loss=outer.loss.item(), gradient_norm=norm.item())


def rows_of(name: str, value: Tensor, rows_S: Tensor | None) -> Tensor:
    """Return the rows of a parameter that a sample of items has; all of one that is not per item."""
    return value if rows_S is None or name not in PER_ITEM else value[rows_S]


def gradients_of(loss: Tensor, params: Params) -> dict[str, Tensor]:
    """Return the gradient of a loss in every parameter it depends on."""
    found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    return {
        name: gradient.detach() for name, gradient in zip(params, found, strict=True) if gradient is not None
    }


def at_start(params: Params, task: Task) -> Outer:
    """Return the gradient of the query loss at the start, as if nothing had been adapted."""
    free = task.at(params)
    loss = free.query_loss(free.start).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


def first_order(params: Params, task: Task) -> Outer:
    """Return the gradient of the query loss after adaptation; the inner steps are taken as constants.

    Source: Finn, Abbeel & Levine 2017, section 5.2.
    """
    free = task.at(params)
    start = free.start
    loss = free.query_loss(start + (free.detached().adapted() - start).detach()).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


def _of_all_workers(own: Outer | None, params: Params, share: float, workers: Workers) -> Outer:
    """Return the meta-gradient of a whole batch, a mean over users, from the parts of all workers."""
    if workers.size == 1 and own is not None:
        return own
    given = {} if own is None else {name: share * value for name, value in own.gradients.items()}
    some = next(iter(params.values()))
    known = some.new_tensor([*(float(name in given) for name in params)])
    loss = some.new_zeros(1) if own is None else share * own.loss.reshape(1)
    parts = [given.get(name, torch.zeros_like(value)).flatten() for name, value in params.items()]
    lengths = [len(params), 1, *map(len, parts)]
    known, loss, *parts = torch.split(workers.sum(torch.cat([known, loss, *parts])), lengths)
    return Outer(
        loss=loss[0],
        gradients={
            name: part.view_as(value)
            for (name, value), part, count in zip(params.items(), parts, known, strict=True)
            if count > 0
        },
    )


def _norm(gradients: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()


@torch.no_grad()
def _adamw(
    state: LearnerState,
    gradients: dict[str, Tensor],
    *,
    rate: float,
    weight_decay: float,
    rows_S: Tensor | None,
) -> LearnerState:
    params, first, second = dict(state.params), dict(state.first), dict(state.second)
    for name, gradient in gradients.items():
        relative = next((value for key, value in RELATIVE_RATE.items() if name.startswith(key)), 1.0)
        of_state = [one[name] for one in (state.params, state.first, state.second)]
        moved = [rows_of(name, one, rows_S).clone() for one in of_state]
        adamw(
            moved[:1],
            [gradient],
            moved[1:2],
            moved[2:],
            [],
            [torch.tensor(float(state.step))],
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate * relative,
            weight_decay=weight_decay,
            eps=1e-8,
            maximize=False,
        )
        if rows_S is not None and name in PER_ITEM:
            moved = [one.index_copy_(0, rows_S, new) for one, new in zip(of_state, moved, strict=True)]
        params[name], first[name], second[name] = moved
    return LearnerState(params=params, first=first, second=second, step=state.step + 1)
