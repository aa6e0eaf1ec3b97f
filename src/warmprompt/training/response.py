"""Whether a run's users may adapt in the language model's linear response: judged on validation users.

B is users, V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.adaptation.engine import mixture_of, repeat_text
from warmprompt.backbone.forward import read_out, read_texts
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import inverse_responses
from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import Order, batch_supports
from warmprompt.experts.mixture import Mixture
from warmprompt.experts.protocol import Encode, UserBatch
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import make_catalogue
from warmprompt.meta.predict import EncodedTexts, adapt_linearly, adapt_users
from warmprompt.runs.format import Trained
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.scoring.validation import draw_validation_episodes
from warmprompt.types import Ints

LARGEST_LOSS = 0.005
"""Share of NDCG@10 that the linear response may lose; differences to rivals are ten times that."""
_MAX_USERS = 200
_BATCH = 64


def judge_linear_response(  # noqa: PLR0913 - the model and its users, the rest by keyword
    trained: Trained,
    backbone: Backbone,
    training: Dataset,
    validation: Dataset,
    *,
    encode: Encode | None = None,
    seed: int,
    order: Order,
) -> dict[str, Any]:
    """Return whether users adapt linearly, and what that loses, over validation episodes of 1 to 20 events.

    Args:
        trained: The model, its experts and weights included.
        backbone: The frozen language model.
        training: Tells which items may be ranked.
        validation: Users of the episodes, 200 at most; without episodes users adapt linearly.
        encode: Reads what users wrote, for the experts that do.
        seed: The run's seed.
        order: How episodes are drawn.
    """
    catalogue, learner = make_catalogue(trained.params, trained.data), learner_of(trained.learner)
    mixture = mixture_of(trained, catalogue)
    nothing = _no_text(trained, backbone)
    episodes = draw_validation_episodes(training, validation, seed=seed, order=order, max_users=_MAX_USERS)
    found: dict[str, list[NDArray[np.float64]]] = {"linear": [], "exact": []}
    for k, supports in episodes.supports.items():
        for start in range(0, len(supports), _BATCH):
            part = supports[start : start + _BATCH]
            texts, events = repeat_text(nothing, len(part)), batch_supports(part)
            vectors = {
                "linear": adapt_linearly(catalogue, learner, features_BT=texts.features_BT, events=events),
                "exact": adapt_users(
                    catalogue, learner, backbone, trained.readout, texts=texts, events=events
                ).users_BD,
            }
            queries = episodes.queries[k][start : start + _BATCH]
            for name, users_BD in vectors.items():
                batch = UserBatch(
                    supports=part,
                    vectors_BD=users_BD,
                    least_rating=trained.least_rating,
                    encode=encode,
                )
                found[name].append(_ndcg(mixture, batch, queries, episodes.candidates_V))
    if not found["exact"]:
        return {"linear": True, "num_episodes": 0}
    linear, exact = (float(np.concatenate(found[name]).mean()) for name in ("linear", "exact"))
    return {
        "linear": linear >= (1 - LARGEST_LOSS) * exact,
        "ndcg_linear": linear,
        "ndcg_exact": exact,
        "num_episodes": sum(map(len, found["exact"])),
    }


@torch.no_grad()
def _no_text(trained: Trained, backbone: Backbone) -> EncodedTexts:
    prefix = read_texts(backbone, [""])
    reference_BH = read_out(backbone, prefix, trained.readout.reference_PH[None])
    return EncodedTexts(
        prefix=prefix,
        reference_BH=reference_BH,
        features_BT=trained.no_text_T[None],
        responses=inverse_responses(backbone, trained.readout, prefix, [""]),
    )


def _ndcg(
    mixture: Mixture, batch: UserBatch, queries: Sequence[Ints], candidates_V: NDArray[np.bool_]
) -> NDArray[np.float64]:
    excluded = [support.items_K for support in batch.supports]
    found = ranks(mixture.score(batch), queries, excluded=excluded, candidates=candidates_V)
    return ndcg_per_user(found)
