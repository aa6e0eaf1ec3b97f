"""The closed-form head: ridge regression around the prompt's user vector, differentiated through.

The gradient is that of the query loss at the start, as multi-task training takes it; the adapter solves.

Source: Bertinetto, Henriques, Torr & Vedaldi 2019 (R2-D2), section 3.3.
"""

from __future__ import annotations

from warmprompt.meta.adapters import RidgeAdapter
from warmprompt.meta.learner import Learner, at_start

closed_form = Learner(name="closed-form", gradient=at_start, adapter=RidgeAdapter)
