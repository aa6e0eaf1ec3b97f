"""Explanations as the service gives them: exact effects of what was told, and a checked sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.data.dataset import Dataset
from warmprompt.generation.explain import explain
from warmprompt.generation.facts import Facts, catalogue_facts
from warmprompt.generation.lm import LanguageModel
from warmprompt.service.model.live import ExplainerFactory
from warmprompt.types import ItemId


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactExplainer:
    """Explains rankings of one catalogue; see `generation.explain`.

    Attributes:
        personaliser: That ranks.
        facts: Of its catalogue.
        writer: Writes the sentences; None leaves that to the template.
    """

    personaliser: Personaliser
    facts: Facts
    writer: LanguageModel | None = None

    def explain(self, state: UserState, items: Sequence[ItemId]) -> list[Mapping[str, object]]:
        """Return one explanation per item, made of JSON values."""
        found = explain(self.personaliser, state, items, self.facts, writer=self.writer)
        return [asdict(one) for one in found]


def explainer_factory(
    *, dataset: Dataset | None = None, writer: LanguageModel | None = None
) -> ExplainerFactory:
    """Return what makes an explainer for each model that comes into service.

    Args:
        dataset: That the run was trained on, for genres; None, or one of other items, tells none.
        writer: Writes the sentences; None leaves that to the template.
    """

    def make(personaliser: Personaliser) -> ExactExplainer:
        fits = dataset is not None and tuple(dataset.item_ids) == personaliser.items
        facts = catalogue_facts(personaliser, dataset if fits else None)
        return ExactExplainer(personaliser=personaliser, facts=facts, writer=writer)

    return make
