"""FOMAML: the query gradient at the adapted prompt, taken as if the inner steps were constants.

Source: Finn, Abbeel & Levine 2017, section 5.2.
"""

from __future__ import annotations

from warmprompt.meta.learner import Learner, first_order

fomaml = Learner(name="fomaml", gradient=first_order)
