"""Experts score the catalogue for a user, one method per file; a mixture is their weighted sum."""

from warmprompt.experts.mixture import Mixture
from warmprompt.experts.protocol import Expert, FitContext, UserBatch
from warmprompt.experts.registry import EXPERTS

__all__ = ["EXPERTS", "Expert", "FitContext", "Mixture", "UserBatch"]
