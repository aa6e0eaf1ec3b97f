"""The learned target: prompts descend towards a user vector that a network reads off the events.

The inner loop stays what it is, gradient steps on each user's prompt through the frozen model. What is
learned is its loss: half the squared distance of the user vector to a target (`meta.target`), in place of a
likelihood written by hand. The meta-gradient is first order, as FOMAML's.

Source: a learned inner loss: Bechtle et al. 2021 (ML3), eq. 1; first order as Finn et al. 2017,
section 5.2.
"""

from __future__ import annotations

from warmprompt.meta.learner import Learner, first_order
from warmprompt.meta.objectives import LearnedTarget

learned_target = Learner(name="learned-target", gradient=first_order, objective=LearnedTarget)
