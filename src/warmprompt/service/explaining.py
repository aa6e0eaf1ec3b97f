"""Explanations in service: the exact effects of a user's inputs, and one checked sentence at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.data.dataset import Dataset
from warmprompt.data.home import find_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import WarmpromptError
from warmprompt.generation.explain import explain
from warmprompt.generation.facts import Facts, catalogue_facts
from warmprompt.generation.lm import LanguageModel, open_language_model
from warmprompt.runs.models import settings_of
from warmprompt.service.model.served_model import Explainer, ExplainerFactory
from warmprompt.types import ItemId


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactExplainer:
    """Explains rankings of one catalogue; see `generation.explain`.

    Attributes:
        personaliser: That ranks.
        facts: Of its catalogue.
        writer: Writes the sentences; None uses the template.
    """

    personaliser: Personaliser
    facts: Facts
    writer: LanguageModel | None = None

    def explain(self, state: UserState, items: Sequence[ItemId]) -> list[Mapping[str, object]]:
        """Return one explanation per item, made of JSON values; its sentence is the template's."""
        return [asdict(one) for one in explain(self.personaliser, state, items, self.facts)]

    def sentence(self, state: UserState, item: ItemId) -> Mapping[str, object]:
        """Return the sentence about one item; the language model, if there is one, takes a second or so."""
        (found,) = explain(self.personaliser, state, [item], self.facts, writer=self.writer)
        return {name: asdict(found)[name] for name in ("item", "title", "sentence", "how", "checks")}


def explainer_factory(
    *, dataset: Dataset | None = None, writer: LanguageModel | None = None
) -> ExplainerFactory:
    """Return a factory of explainers, called for each model that comes into service.

    Args:
        dataset: Training data of the run, for genres; None, or one with other items, gives no genres.
        writer: Writes the sentences; None uses the template.
    """

    def make(personaliser: Personaliser) -> ExactExplainer:
        num_known = 0 if dataset is None else len(dataset.item_ids)
        fits = dataset is not None and tuple(dataset.item_ids) == personaliser.items[:num_known]
        facts = catalogue_facts(personaliser, dataset if fits else None)
        return ExactExplainer(personaliser=personaliser, facts=facts, writer=writer)

    return make


def explainer_of_run(*, writes: bool) -> ExplainerFactory:
    """Return a factory of explainers that uses the data set and language model on this machine.

    Genres are used if the run's data set has been fetched or imported before; nothing is fetched here.

    Args:
        writes: Whether the language model writes the sentences; for an encoder the template does.
    """
    datasets: dict[str, Dataset | None] = {}
    writers: dict[str, LanguageModel | None] = {}

    def make(personaliser: Personaliser) -> Explainer:
        engine = personaliser.engine
        name, weights = settings_of(engine.trained).data.name, engine.backbone.weights_hash
        if name not in datasets:
            datasets[name] = _local_dataset(name)
        if writes and weights not in writers:
            writers.clear()  # one model of this size in memory is enough
            writers[weights] = open_language_model(engine) if engine.backbone.kind == "decoder" else None
        return explainer_factory(dataset=datasets[name], writer=writers.get(weights))(personaliser)

    return make


def _local_dataset(name: str) -> Dataset | None:
    try:
        return open_dataset(find_dataset(name))
    except WarmpromptError:
        return None
