"""The learners by name: the only table of their names."""

from __future__ import annotations

import difflib

from warmprompt.errors import UnknownNameError
from warmprompt.meta.adapters import NoAdaptation
from warmprompt.meta.closed_form import closed_form
from warmprompt.meta.fomaml import fomaml
from warmprompt.meta.learned_target import learned_target
from warmprompt.meta.learner import Learner, at_start
from warmprompt.meta.maml import maml
from warmprompt.meta.meta_sgd import meta_sgd
from warmprompt.meta.multitask import multitask
from warmprompt.meta.reptile import reptile

LEARNERS: dict[str, Learner] = {
    learner.name: learner
    for learner in (learned_target, reptile, fomaml, maml, meta_sgd, multitask, closed_form)
}

# Leaves every prompt at its learned start: what adaptation is compared with. No training is named after it.
UNADAPTED = Learner(name="unadapted", gradient=at_start, adapter=NoAdaptation)


def learner_of(name: str) -> Learner:
    """Return the learner of this name.

    Raises:
        UnknownNameError: No such learner; names the nearest one where a name is near.
    """
    if name in LEARNERS:
        return LEARNERS[name]
    near = difflib.get_close_matches(name.lower().replace("_", "-"), LEARNERS, n=1)
    guess = f"Did you mean {near[0]}? " if near else ""
    raise UnknownNameError(
        field="learner", value=name, remedy=f"{guess}The learners are {', '.join(LEARNERS)}."
    )
