"""The experts by name, in the order in which their weights are searched: the only table of their names."""

from __future__ import annotations

from warmprompt.experts.popularity import Popularity
from warmprompt.experts.protocol import Expert
from warmprompt.experts.tfidf import TfIdf
from warmprompt.experts.user_neighbours import UserNeighbours
from warmprompt.experts.user_posterior import UserPosterior
from warmprompt.experts.user_text import UserText
from warmprompt.experts.user_vector import UserVector

EXPERTS: dict[str, type[Expert]] = {
    kind.name: kind for kind in (UserVector, Popularity, UserNeighbours, UserPosterior, TfIdf, UserText)
}

LEARNED = (UserVector.name, Popularity.name)
"""Experts that the outer loop trains: their weight is 1."""
