"""The experts by name, in the order in which their weights are searched: the only table of their names."""

from __future__ import annotations

from warmprompt.experts.most_popular import MostPopular
from warmprompt.experts.ordered_ridge import OrderedRidge
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.position import PositionPopularity
from warmprompt.experts.protocol import Expert
from warmprompt.experts.session_neighbours import SessionNeighbours
from warmprompt.experts.tfidf import TfIdf
from warmprompt.experts.transitions import Transitions
from warmprompt.experts.user_neighbours import UserNeighbours
from warmprompt.experts.user_posterior import UserPosterior
from warmprompt.experts.user_text import UserText
from warmprompt.experts.user_vector import UserVector

EXPERTS: dict[str, type[Expert]] = {
    kind.name: kind
    for kind in (
        *(UserVector, Popularity, MostPopular, UserNeighbours, UserPosterior, TfIdf, UserText),
        *(PositionPopularity, Transitions, OrderedRidge, SessionNeighbours),
    )
}

LEARNED = (UserVector.name, Popularity.name)
"""Experts that the outer loop trains: their weight is 1."""

ORDERED = tuple(kind.name for kind in (PositionPopularity, Transitions, OrderedRidge, SessionNeighbours))
"""Experts of order: they score 0 for users whose events have none, and their weights depend on K."""
