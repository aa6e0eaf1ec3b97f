"""A frozen language model that personalises for people it has hardly seen.

    dataset = warmprompt.Dataset.from_frames(interactions, items)
    model = warmprompt.fit(dataset)
    model.recommend(new_interactions, n=10)  # a DataFrame
    model.save("runs/mine")

    model = warmprompt.load("runs/mine")
    state = model.adapt([warmprompt.Event(item=model.find("Toy Story"), rating=5.0)])
    print(model.rank(state, n=10))

Names are imported when they are first used, so that importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmprompt.adaptation.events import Known
    from warmprompt.adaptation.opening import open_run as load
    from warmprompt.adaptation.personaliser import Personaliser
    from warmprompt.adaptation.rankings import Ranking
    from warmprompt.adaptation.state import UserState
    from warmprompt.assembly.evaluating import evaluate_run
    from warmprompt.assembly.fitting import fit
    from warmprompt.data.dataset import Dataset
    from warmprompt.errors import (
        BadInputError,
        FaultError,
        MismatchError,
        UnknownNameError,
        UserError,
        WarmpromptError,
    )
    from warmprompt.settings import EvaluateSettings, Settings, load_settings
    from warmprompt.training.run import train_run
    from warmprompt.types import Event

    __version__: str

__all__ = [
    "BadInputError",
    "Dataset",
    "EvaluateSettings",
    "Event",
    "FaultError",
    "Known",
    "MismatchError",
    "Personaliser",
    "Ranking",
    "Settings",
    "UnknownNameError",
    "UserError",
    "UserState",
    "WarmpromptError",
    "evaluate_run",
    "fit",
    "load",
    "load_settings",
    "train_run",
]

_LOCATIONS = {
    "adaptation.events": ("Known",),
    "adaptation.personaliser": ("Personaliser",),
    "adaptation.rankings": ("Ranking",),
    "adaptation.state": ("UserState",),
    "assembly.evaluating": ("evaluate_run",),
    "assembly.fitting": ("fit",),
    "training.run": ("train_run",),
    "data.dataset": ("Dataset",),
    "errors": (
        "BadInputError",
        "FaultError",
        "MismatchError",
        "UnknownNameError",
        "UserError",
        "WarmpromptError",
    ),
    "settings": ("EvaluateSettings", "Settings", "load_settings"),
    "types": ("Event",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("warmprompt")
    if name == "load":
        return import_module("warmprompt.adaptation.opening").open_run
    for module, names in _LOCATIONS.items():
        if name in names:
            return getattr(import_module(f"warmprompt.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
