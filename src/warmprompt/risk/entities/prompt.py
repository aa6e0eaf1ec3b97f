"""The entity's prompt: what the frozen language model adds to the experts, adapted to known labels.

    logit(c) = a offset(c) + b(c) + w sum over u of (z . phi_u(x)) d_u(c)

offset is the experts' log-probability, z the entity's vector, x a row in numbers. Ordered classes have one
direction d that rises evenly from best to worst; others have one each. On the support side w is 1.

B is entities, E rows to predict, K known rows, F features, C classes, D factors, G hidden, U directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.meta.adapters import Adapter, LinearAdapter, PromptAdapter
from warmprompt.meta.initial import initial_prompt_params
from warmprompt.meta.task import Task
from warmprompt.meta.trainer import StagePlan, TrainingPlan, TrainingStage, linear_fall, start_training, train
from warmprompt.risk.profile.payments import Doubles, Longs
from warmprompt.risk.profile.reading import fit_reading, pick, read_book
from warmprompt.risk.profile.tasks import risk_learner
from warmprompt.rng import derive

_CHUNK, _MOST_READ = 64, 300
_NUM_FACTORS, _NUM_HIDDEN, _NUM_TEXT, _NUM_STEPS, _INNER_RATE = 16, 32, 16, 2, 0.5


@dataclass(frozen=True, kw_only=True)
class EntityPromptSettings:
    """How the prompts are trained.

    Attributes:
        tangent_epochs: Passes of the stage without the language model.
        prompt_steps: Outer steps of the stage through it.
        batch: Episodes of an outer step in the first stage; a sixteenth of it, at least 16, in the second.
    """

    tangent_epochs: int = 3
    prompt_steps: int = 10
    batch: int = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class RowBatch:
    """Rows of a batch of entities, padded.

    Attributes:
        features_BKF: As the experts read them.
        offset_BKC: The experts' log-probabilities.
        label_BK: Index of the class; 0 at padding.
        mask_BK: 1 at rows with a label, 0 at padding.
    """

    features_BKF: Tensor
    offset_BKC: Tensor
    label_BK: Tensor
    mask_BK: Tensor

    def __getitem__(self, rows_B: Longs) -> RowBatch:
        """Return some entities."""
        return RowBatch(**{name: value[torch.as_tensor(rows_B)] for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelEpisodes:
    """Rows to predict, the known rows of their entities, a text about each, and its features once read."""

    query: RowBatch
    support: RowBatch
    texts: Sequence[str]
    features_ET: Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    def __getitem__(self, rows_B: Longs) -> LabelEpisodes:
        """Return some episodes."""
        return LabelEpisodes(
            query=self.query[rows_B],
            support=self.support[rows_B],
            texts=[self.texts[row] for row in rows_B],
            features_ET=self.features_ET[rows_B] if len(self.features_ET) else self.features_ET,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassModel:
    """Directions in which a vector moves the classes, and the parameters at which they are used."""

    directions_UC: Tensor
    params: Mapping[str, Tensor]

    def at(self, params: Mapping[str, Tensor]) -> ClassModel:
        """Return the model of these parameters."""
        return replace(self, params=params)

    def detached(self) -> ClassModel:
        """Return the same model as constants."""
        return replace(self, params={name: value.detach() for name, value in self.params.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelLikelihood:
    """The likelihood of an entity's labels: what its vector adapts to and is judged by."""

    support: RowBatch
    query: RowBatch

    def inner_loss(
        self, model: ClassModel, adapter: Adapter, *, on_query: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return the sum of cross-entropies divided by K + kappa, as a function of what adapts."""
        rows, params = self.query if on_query else self.support, model.params

        def loss(moved: Tensor) -> Tensor:
            each_BK = _cross_entropy(class_logits(model, rows, adapter.users(model, moved), weight=1.0), rows)
            return each_BK.sum(1) / (rows.mask_BK.sum(1) + params["support.log_kappa"].exp())

        return loss

    def query_loss(self, model: ClassModel, users_BD: Tensor) -> Tensor:
        """Return the mean cross-entropy of each entity's query rows, nats."""
        each_BK = _cross_entropy(class_logits(model, self.query, users_BD), self.query)
        return each_BK.sum(1) / self.query.mask_BK.sum(1).clamp(min=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityPrompt:
    """Trained prompts.

    Attributes:
        model: Directions and learned parameters.
        readout: The normalised read-out.
        backbone: The frozen language model.
    """

    model: ClassModel
    readout: ReadOut
    backbone: Backbone

    def log_p(self, episodes: LabelEpisodes, *, tangent: bool = False) -> Doubles:
        """Return the log-probabilities of each row to predict, (E, C), after adapting to its support.

        Args:
            episodes: Of any entities.
            tangent: Move the vector itself instead of the prompt, without a pass through the language model.
        """
        parts = []
        for start in range(0, len(episodes.texts), _CHUNK):
            some = episodes[np.arange(start, min(start + _CHUNK, len(episodes.texts)))]
            task = self.task(some, tangent=tangent).at(self.model.params)
            with torch.no_grad():
                moved = task.adapted() if some.support.mask_BK.any() else task.start
                logits_BKC = class_logits(self.model, some.query, task.users(moved))
            parts.append(torch.log_softmax(logits_BKC[:, 0].double(), dim=1).numpy())
        return np.concatenate(parts)

    def read(self, episodes: LabelEpisodes) -> LabelEpisodes:
        """Return episodes with the features of their texts."""
        parts = []
        for start in range(0, len(episodes.texts), _CHUNK):
            texts = episodes.texts[start : start + _CHUNK]
            book = read_book(self.backbone, self.readout, texts)
            parts.append(book.features_NT[book.rows(texts)])
        return replace(episodes, features_ET=torch.cat(parts))

    def task(self, episodes: LabelEpisodes, *, tangent: bool) -> Task:
        """Return episodes as a task of a meta-learner; in the tangent their texts have been read."""
        adapter: Adapter = LinearAdapter(features_BT=episodes.features_ET, learns_head=True)
        if not tangent:
            book = read_book(self.backbone, self.readout, episodes.texts)
            index_B = book.rows(episodes.texts)
            adapter = PromptAdapter(
                features_BT=book.features_NT[index_B],
                backbone=self.backbone,
                readout=self.readout,
                prefix=pick(book.prefix, index_B),
                reference_BH=book.reference_NH[index_B],
            )
        objective = LabelLikelihood(support=episodes.support, query=episodes.query)
        return Task(adapter=adapter, objective=objective, data=self.model)


def join_episodes(parts: Sequence[LabelEpisodes]) -> LabelEpisodes:
    """Return episodes one after another."""

    def joined(batches: Sequence[RowBatch]) -> RowBatch:
        return RowBatch(
            **{name: torch.cat([vars(one)[name] for one in batches]) for name in vars(batches[0])}
        )

    return LabelEpisodes(
        query=joined([one.query for one in parts]),
        support=joined([one.support for one in parts]),
        texts=[text for one in parts for text in one.texts],
    )


def class_directions(num_classes: int, *, ordered: bool) -> Tensor:
    """Return one direction from -1 to 1 for ordered classes or two, else one per class, (U, C)."""
    if ordered or num_classes == 2:
        return torch.linspace(-1, 1, num_classes)[None]
    return torch.eye(num_classes)


def row_batch(features: Doubles, offset: Doubles, label: Longs, mask: Doubles) -> RowBatch:
    """Return rows as tensors; labels below 0 are masked."""
    return RowBatch(
        features_BKF=torch.from_numpy(features).float(),
        offset_BKC=torch.from_numpy(offset).float(),
        label_BK=torch.from_numpy(np.maximum(label, 0)),
        mask_BK=torch.from_numpy(mask * (label >= 0)).float(),
    )


def class_logits(
    model: ClassModel, rows: RowBatch, users_BD: Tensor, *, weight: float | None = None
) -> Tensor:
    """Return log-probabilities up to a constant, (B, K, C); the weight w is the learned one where None."""
    params = model.params
    hidden_BKG = torch.tanh(rows.features_BKF @ params["phi.hidden"] + params["phi.hidden_bias"])
    shape = (*hidden_BKG.shape[:2], users_BD.shape[1], len(model.directions_UC))
    phi_BKDU = (hidden_BKG @ params["phi.out"]).reshape(shape)
    own_BKC = torch.einsum("bkdu,bd->bku", phi_BKDU, users_BD) @ model.directions_UC
    w = params["class.own"] if weight is None else weight
    return params["class.offset_scale"] * rows.offset_BKC + params["class.bias"] + w * own_BKC


def train_prompt(  # noqa: PLR0913 - settings by keyword
    training: LabelEpisodes,
    validation: LabelEpisodes,
    backbone: Backbone,
    *,
    ordered: bool,
    settings: EntityPromptSettings,
    seed: int,
    progress: Callable[[str], None] = lambda _line: None,
) -> EntityPrompt:
    """Return prompts trained on episodes; each stage keeps its best parameters on validation episodes.

    Args:
        training: Episodes whose offsets come from experts that have not seen their entities.
        validation: Episodes of other entities.
        backbone: The frozen language model.
        ordered: Whether the classes have an order.
        settings: Lengths of the stages.
        seed: Derives every random choice.
        progress: Receives a line per validation.
    """
    num, few = len(training.texts), min(max(16, settings.batch // 16), len(training.texts))
    drawn = derive(seed, "read").permutation(num)[:_MOST_READ]
    readout = fit_reading(
        backbone,
        [training.texts[row] for row in drawn],
        prompt_length=2,
        num_factors=_NUM_FACTORS,
        num_text_features=_NUM_TEXT,
        reach=0.005,
        seed=seed,
    )
    directions_UC = class_directions(training.query.offset_BKC.shape[2], ordered=ordered)
    model = ClassModel(directions_UC=directions_UC, params={})
    prompt = EntityPrompt(model=model, readout=readout, backbone=backbone)
    training, validation = prompt.read(training), prompt.read(validation)
    num_text = training.features_ET.shape[1]
    params = _initial_params(training.query.features_BKF.shape[2], num_text, directions_UC, readout, seed)

    def stage(
        name: str, learner: str, batches: Callable[[int], list[Longs]], *, tangent: bool
    ) -> TrainingStage:
        def judged(at: Mapping[str, Tensor], _: object) -> float:
            trial = replace(prompt, model=prompt.model.at(dict(at)))
            return log_loss(trial.log_p(validation, tangent=tangent), validation)

        return TrainingStage(
            name=name,  # type: ignore[arg-type]
            learner=risk_learner(learner),
            batches=batches,
            task=lambda rows_B, _, own: prompt.task(training[rows_B[own]], tangent=tangent),
            validation_loss=judged,
            schedule=linear_fall,
        )

    def every(epoch: int) -> list[Longs]:
        order_E = derive(seed, "tangent", epoch).permutation(num)
        return [order_E[start : start + settings.batch] for start in range(0, num, settings.batch)]

    def drawn_again(_: int) -> list[Longs]:
        steps = range(settings.prompt_steps)
        return [derive(seed, "prompt", step).choice(num, size=few, replace=False) for step in steps]

    stages = (
        stage("tangent", "maml", every, tangent=True),
        stage("prompt", "fomaml", drawn_again, tangent=False),
    )
    plan = TrainingPlan(
        tangent=StagePlan(epochs=settings.tangent_epochs, rate=2e-3, patience=settings.tangent_epochs + 1),
        prompt=StagePlan(epochs=min(1, settings.prompt_steps), rate=3e-4),
        weight_decay=1e-3,
    )
    state = train(start_training(stages[0].learner, params), stages, plan)
    for name, epoch, _, loss in state.history:
        progress(f"{name} stage, epoch {epoch}: validation loss {loss:.5f}")
    return replace(prompt, model=prompt.model.at(state.best))


def log_loss(log_p_EC: Doubles, episodes: LabelEpisodes) -> float:
    """Return the mean cross-entropy of the rows to predict that have a label, nats."""
    label_E, mask_E = episodes.query.label_BK[:, 0].numpy(), episodes.query.mask_BK[:, 0].numpy() > 0
    return float(-log_p_EC[np.arange(len(label_E)), label_E][mask_E].mean())


def _initial_params(
    num_features: int, num_text: int, directions_UC: Tensor, readout: ReadOut, seed: int
) -> dict[str, Tensor]:
    """Return parameters that leave the experts' probabilities as they are: w is 0."""
    rng = derive(seed, "classes")

    def draw(*shape: int, scale: float) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape) * scale).float()

    num_directions, num_classes = directions_UC.shape
    return {
        "phi.hidden": draw(num_features, _NUM_HIDDEN, scale=num_features**-0.5),
        "phi.hidden_bias": draw(_NUM_HIDDEN, scale=0.5),
        "phi.out": draw(_NUM_HIDDEN, _NUM_FACTORS * num_directions, scale=0.3 * _NUM_HIDDEN**-0.5),
        "class.offset_scale": torch.tensor(1.0),
        "class.bias": torch.zeros(num_classes),
        "class.own": torch.tensor(0.0),
        "support.log_kappa": torch.tensor(float(np.log(5.0))),
        "prior.start": torch.zeros(_NUM_FACTORS),
        "prior.text_head": torch.zeros(num_text, _NUM_FACTORS),
        "inner.log_rates": torch.full((_NUM_STEPS,), float(np.log(_INNER_RATE))),
        **initial_prompt_params(readout),
    }


def _cross_entropy(logits_BKC: Tensor, rows: RowBatch) -> Tensor:
    each = F.cross_entropy(logits_BKC.flatten(0, 1), rows.label_BK.flatten(), reduction="none")
    return each.reshape(rows.label_BK.shape) * rows.mask_BK
