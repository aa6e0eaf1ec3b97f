"""The multi-task prompt: one prompt for everybody, no inner loop while training.

Source: Lester, Al-Rfou & Constant 2021 (prompt tuning over a mixture of tasks).
"""

from __future__ import annotations

from warmprompt.meta.learner import Learner, at_start

multitask = Learner(name="multitask", gradient=at_start)
