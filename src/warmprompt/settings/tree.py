"""The sections of the settings tree and what each value may be.

A new setting is one annotated line in its section and one line of its docstring; reading, checking,
the environment variable, the codec and the reference page follow from them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import Field

Name = Annotated[str, Field(min_length=1)]
Names = tuple[Name, ...]
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Counts = Annotated[tuple[CountOrZero, ...], Field(min_length=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

_MAX_REPR = 400


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which data set.

    Attributes:
        name: A data set that `warmprompt data get` or `data import` stored, or its folder.
    """

    name: Name = "ml-100k"


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """The frozen language models.

    Attributes:
        name: Backbone that carries the soft prompt: a known name, a hub id or a folder.
        num_layers: Read out after this many layers; without it after the last.
        dtype: Arithmetic of the frozen weights.
        device: Where it runs.
        item_text: Readers of the items' texts: frozen models by name, and tfidf for their words. Item vectors
            are learned from the first one's vectors, and all place items without events. Without any, items
            have no text.
        user_text: Sentence encoder that tells the prior what a user text means; without it the backbone does.
    """

    name: Name = "smollm2-135m"
    num_layers: Count | None = 6
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    item_text: Names = ("minilm-l6",)
    user_text: Name | None = "minilm-l6"


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """The soft prompt every user starts from.

    Attributes:
        length: Prompt vectors per user.
        init: Where the start comes from before training: vocabulary sample, a text, or a normal draw.
        text_init: The text for init = "text".
    """

    length: Count = 4
    init: Literal["vocab", "text", "normal"] = "vocab"
    text_init: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """From the read-out to scores.

    Attributes:
        num_factors: Width of user and item vectors.
        factor_regularization: Of the iALS factors that item vectors start from.
        factor_alpha: Confidence of an event in those factors.
        factor_iterations: Alternations of their fit.
        item_norm: Root mean square length of item vectors at the start.
        num_text_features: Principal components of the user text that the prior sees.
        reach: Share of the prompt's norm travelled per unit of displacement.
        wordings: Sentences written per training user and kind of text.
        new_item_passes: Passes over episodes in which new items' vectors are learned from texts; without it
            found on validation users, 0 leaves them where the item texts of training put them.
    """

    num_factors: Count = 32
    factor_regularization: Positive = 50.0
    factor_alpha: Positive = 10.0
    factor_iterations: Count = 15
    item_norm: Positive = 2.0
    num_text_features: Count = 192
    reach: Positive = 0.0025
    wordings: Count = 4
    new_item_passes: CountOrZero | None = None


@dataclass(frozen=True, kw_only=True)
class ExpertSettings:
    """What scores add to user vector and popularity; weights are found on validation users.

    Attributes:
        use: Experts that are fitted, by their names in `experts.registry`; one that adds nothing on
            validation users is dropped.
        num_neighbours: Nearest training users that count.
        similar_item_weight: What an item with similar words counts, of one that both users have, when those
            users are sought.
        kappa: Events of a user at which these experts weigh half of what they weigh after many.
        order: Experts that are fitted for users whose events have an order; where order adds nothing on
            validation users, none is kept.
        horizon: How many next events of such users rankings are meant for: 1 for the very next one alone.
    """

    use: Names = ("most_popular", "user_neighbours", "tfidf", "user_text")
    num_neighbours: Count = 50
    similar_item_weight: Share = 0.0
    kappa: PositiveOrZero = 0.0
    order: Names = ("position_popularity", "transitions", "ordered_ridge")
    horizon: Count = 10


@dataclass(frozen=True, kw_only=True)
class InnerSettings:
    """The inner loop: one user's prompt moving towards that user's events.

    Attributes:
        num_steps: Gradient steps on the support set.
        rate: Step size that every step starts from; training learns each step's own.
    """

    num_steps: CountOrZero = 1
    rate: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """The outer loop.

    Attributes:
        name: learned-target, reptile, fomaml, maml, meta-sgd, multitask or closed-form.
    """

    name: Name = "learned-target"


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Training over users, in two stages: head and item vectors first, then prompts through the model.

    Attributes:
        preset: Settings that suit how dense the data are; auto chooses by the numbers of users, items and
            events. Whatever else is set by file, variable or flag overrides them.
        seed: The one seed everything random derives from, the split of users included.
        tangent_epochs: Passes over the training users at most, first stage.
        tangent_lr: Peak outer rate of the first stage.
        prompt_epochs: Passes at most, second stage, through the language model.
        prompt_lr: Peak outer rate of the second stage.
        batch_size: Users per outer step.
        max_support: Largest support of an episode.
        max_query: Largest query of an episode; without it all that the support leaves.
        order: Whether episodes take events at random or in time.
        dropout: Share of the user vector's coordinates dropped from the query loss.
        patience: Validations without a gain before a stage ends.
        clip_norm: Largest norm of an outer gradient.
        weight_decay: Decoupled decay, relative to the outer rate.
        save_every: Outer steps between checkpoints.
        threads: Processor threads; without it as many as the machine grants.
        worker_timeout_s: Seconds after which a worker that does not answer the others ends the training.
    """

    preset: Literal["auto", "default", "sparse", "dense-small", "dense"] = "auto"
    seed: CountOrZero = 0
    tangent_epochs: CountOrZero = 60
    tangent_lr: Positive = 0.01
    prompt_epochs: CountOrZero = 0
    prompt_lr: Positive = 0.003
    batch_size: Count = 64
    max_support: CountOrZero = 20
    max_query: Count | None = None
    order: Literal["random", "time"] = "random"
    dropout: Below1 = 0.3
    patience: Count = 3
    clip_norm: Positive = 1.0
    weight_decay: PositiveOrZero = 0.0
    save_every: Count = 50
    threads: Count | None = None
    worker_timeout_s: Positive = 300.0


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Evaluation of users never seen in training; it leaves a run as it is.

    Attributes:
        protocol: How support and query are drawn.
        k: Sizes of the support set.
        seeds: Split seeds, none of them meaning the run's own; models for others are trained first.
        baselines: Models to compare with; without it toppop, itemknn, userknn, ease, ials and blend, as far
            as the machine's memory allows.
        tune_budget: Processor seconds to search the baselines' settings on validation users, 0 for none;
            without it as many as training took, 600 at most, and none where settings are recorded.
        metrics: Metrics besides HR@10, NDCG@10 and MRR, such as Recall@10; all names every one.
        candidates: What a query item competes with; only full belongs in a main table.
        reading: For cold-item, whether new items compete alone or with all.
        min_rating: Ratings below it are no query positives; without it every event is one.
        attributes: Whether the tested users' attributes are shown.
        exact: Whether a row is added that moves prompts through the language model.
    """

    protocol: Literal["random", "next", "gap10", "next10", "temporal", "cold-item"] = "random"
    k: Counts = (0, 1, 3, 5, 10, 20)
    seeds: tuple[CountOrZero, ...] = ()
    baselines: Names | None = None
    tune_budget: PositiveOrZero | None = None
    metrics: Names = ()
    candidates: Literal["full", "sampled100", "query-only"] = "full"
    reading: Literal["new-only", "mixed"] = "new-only"
    min_rating: Finite | None = None
    attributes: bool = False
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole tree, one attribute per section.

    `given` names what a file, a variable, a flag or a manifest has set: presets leave that alone.
    """

    data: DataSettings = field(default_factory=DataSettings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    experts: ExpertSettings = field(default_factory=ExpertSettings)
    inner: InnerSettings = field(default_factory=InnerSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __repr__(self) -> str:
        """Return one line: every setting that is not the tree's default."""
        plain, own = asdict(Settings()), asdict(self)
        changes = [
            f"{section}.{key}={value!r}"
            for section, values in own.items()
            if isinstance(values, dict)
            for key, value in values.items()
            if value != plain[section][key]
        ]
        inside = ", ".join(changes) or "all defaults"
        return f"Settings({inside if len(inside) <= _MAX_REPR else inside[: _MAX_REPR - 3] + '...'})"
