"""What a profiler is trained with, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.risk.profile.model import Scaling
from warmprompt.risk.profile.payments import Side
from warmprompt.risk.profile.population import BoostingSettings, ForestSettings, Population


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """How a profiler is trained.

    Attributes:
        num_factors: D, width of the entity vector.
        num_hidden: Hidden units of phi and psi.
        num_text_features: Leading directions of the texts' hidden states.
        prompt_length: Prompt vectors.
        reach: Share of the prompt's norm travelled per unit of displacement.
        num_steps: Inner steps.
        inner_rate: Their first size.
        num_reference: Payments that typicality is measured against.
        num_folds: For the offsets of training entities.
        tangent_learner: Meta-learner of the first stage, which runs no language model.
        tangent_epochs: Passes over the training episodes; 0 leaves the stage out.
        tangent_rate: Outer rate.
        prompt_learner: Meta-learner of the second stage.
        prompt_steps: Outer steps through the language model; 0 leaves the stage out.
        prompt_rate: Outer rate.
        batch: Episodes of an outer step in the first stage; a sixteenth of it, at least 16, in the second.
        clip_norm: Largest norm of a meta-gradient.
        weight_decay: Decoupled decay.
        payment_words: Let the frozen model read each payment in words too; its features of the support
            payments are averaged into the start, those of each payment enter phi.
        num_sentence_features: Leading directions of those sentences' hidden states.
        boosting: Of the population model.
        forest: Of the population model.
    """

    num_factors: int = 16
    num_hidden: int = 32
    num_text_features: int = 16
    prompt_length: int = 2
    reach: float = 0.005
    num_steps: int = 2
    inner_rate: float = 0.5
    num_reference: int = 256
    num_folds: int = 2
    tangent_learner: str = "maml"
    tangent_epochs: int = 3
    tangent_rate: float = 2e-3
    prompt_learner: str = "fomaml"
    prompt_steps: int = 10
    prompt_rate: float = 3e-4
    batch: int = 256
    clip_norm: float = 1.0
    weight_decay: float = 1e-3
    payment_words: bool = False
    num_sentence_features: int = 8
    boosting: BoostingSettings = field(
        default_factory=lambda: BoostingSettings(learning_rate=0.04, num_trees=120)
    )
    forest: ForestSettings = field(default_factory=ForestSettings)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileModel:
    """Everything learned, and the frozen model it was learned with.

    Attributes:
        params: Learned by the meta-learners.
        scaling: Of features.
        population: The population model.
        readout: The normalised read-out.
        backbone: The frozen language model.
        settings: As trained.
        side: What the entities are.
        label_delay_s: How long labels take.
    """

    params: dict[str, Tensor]
    scaling: Scaling
    population: Population
    readout: ReadOut
    backbone: Backbone
    settings: ProfileSettings
    side: Side
    label_delay_s: int
