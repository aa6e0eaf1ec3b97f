"""Where learning starts: item vectors from iALS factors and text, a neutral prior, one step size.

Item vectors are the factors stretched by M^(1/2), M = (V^T V + regularization)^-1: one gradient step of
rate 1 from zero on a user vector then ranks as the first-order solution of iALS's fold-in does.

V is items, D factors, X width of item text vectors, T text features, P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmprompt.backbone.readout import ReadOut
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.factors import fit_item_factors
from warmprompt.data.feedback import PUSHING_SHARE
from warmprompt.errors import BadInputError
from warmprompt.meta.model import CatalogueData, Params, support_vectors
from warmprompt.rng import derive
from warmprompt.types import Floats

_TEXT_RIDGE = 1.0
_USER_RIDGE = 3.0
_HISTORY_GAIN = 1.6


@dataclass(frozen=True, kw_only=True)
class ItemStart:
    """How item vectors start.

    Attributes:
        num_factors: D.
        regularization: Of the iALS fit.
        alpha: Confidence of an event in the iALS fit.
        num_iterations: Alternations.
        norm: Root mean square length of the item vectors of the catalogue.
    """

    num_factors: int = 32
    regularization: float = 50.0
    alpha: float = 10.0
    num_iterations: int = 15
    norm: float = 2.0


def initial_items(
    training: Dataset, item_text_VX: Floats | None, start: ItemStart, *, seed: int
) -> tuple[dict[str, Tensor], CatalogueData]:
    """Return the item parameters and the data that belong to them.

    The text map is the ridge regression of the warm items' start vectors on their texts, and the
    learned part what the text does not explain, so a warm item starts at its factors and a new one
    where its text puts it. Popularity of items without events is predicted from text the same way.

    Args:
        training: Events of training users.
        item_text_VX: Unit-length text vectors, or None to do without text.
        start: Sizes and the iALS settings.
        seed: Of the iALS start.

    Raises:
        BadInputError: No events.
    """
    counts_V = popularity(training)
    warm_V = counts_V > 0
    if not warm_V.any():
        raise BadInputError(field="data set", value=training.name, remedy="Give training users with events.")
    vectors_VD = _stretched_factors(training, warm_V, start, seed)
    text_VX = np.zeros((training.num_items, 1), dtype=np.float32) if item_text_VX is None else item_text_VX
    log_counts_V = np.log1p(counts_V).astype(np.float32)
    text_map_XD, _ = ridge(text_VX[warm_V], vectors_VD[warm_V], center=False)
    predicted_V = predicted_popularity(text_VX[warm_V], log_counts_V[warm_V], text_VX)
    levels_R, rating_range = _rating_levels(training)
    params = {
        "items.learned": torch.from_numpy((vectors_VD - text_VX @ text_map_XD) * warm_V[:, None]).float(),
        "items.support_offset": torch.zeros(training.num_items, start.num_factors),
        "items.text_map": torch.from_numpy(text_map_XD).float(),
        "items.bias": torch.zeros(training.num_items),
        "popularity.weight": torch.tensor(1.0),
        "ratings.size": _rating_sizes(levels_R),
        "support.log_kappa": torch.tensor(float(np.log(10.0))),
        "ridge.log_spread": torch.tensor(0.0),
        "ridge.log_prior": torch.tensor(float(np.log(10.0))),
        "ridge.log_target": torch.tensor(float(np.log(10.0))),
    }
    data = CatalogueData(
        item_text_VX=torch.from_numpy(np.ascontiguousarray(text_VX)).float(),
        log_popularity_V=torch.from_numpy(np.where(warm_V, log_counts_V, predicted_V)).float(),
        warm_V=torch.from_numpy(warm_V).float(),
        rating_levels_R=levels_R,
        rating_range=torch.tensor(rating_range),
    )
    return params, data


def predicted_popularity(known_IX: Floats, log_counts_I: Floats, texts_NX: Floats) -> Floats:
    """Return log(1 + events) that texts promise, (N,), by ridge regression over items with events.

    Args:
        known_IX: Texts of items with events.
        log_counts_I: Their log(1 + events).
        texts_NX: Texts of the items to predict.
    """
    weights_X1, mean_1 = ridge(known_IX, log_counts_I[:, None], center=True)
    predicted: Floats = np.clip((texts_NX @ weights_X1)[:, 0] + mean_1[0], 0.0, log_counts_I.max())
    return predicted


def initial_prior(
    *, num_factors: int, num_text_features: int, num_steps: int, rate: float
) -> dict[str, Tensor]:
    """Return a prior that says nothing yet, and one step size for every inner step."""
    return {
        "prior.start": torch.zeros(num_factors),
        "prior.text_head": torch.zeros(num_text_features, num_factors),
        "inner.log_rates": torch.full((num_steps,), float(np.log(rate))),
    }


def read_prior(
    params: Params, data: CatalogueData, training: Dataset, texts: Sequence[tuple[int, Tensor]]
) -> dict[str, Tensor]:
    """Return a prior that has read the training users' texts: the ridge regression of users on texts.

    The target of a text is where its user's whole history leads: the sum of the item vectors less the mean
    of the catalogue weighted by popularity, times `_HISTORY_GAIN` / (events + kappa), which is about where
    the inner loop ends.

    Args:
        params: With item vectors and kappa.
        data: Of the items.
        training: Events of training users.
        texts: (user index, text features (T,)) pairs; a user may have several texts, which share one weight.
    """
    led_ND = where_users_lead(params, data, training)
    features_MT = torch.stack([features.cpu() for _, features in texts])
    head_TD = ridge_of_texts(features_MT, torch.tensor([user for user, _ in texts]), led_ND)
    return {"prior.start": led_ND.mean(0), "prior.text_head": head_TD}


def where_users_lead(params: Params, data: CatalogueData, training: Dataset) -> Tensor:
    """Return where each training user's whole history leads, (N, D), on the processor; see `read_prior`."""
    vectors_VD = support_vectors(params, data).detach().cpu()
    weights_V = (data.log_popularity_V.expm1() * data.warm_V).cpu()
    mean_D = (weights_V @ vectors_VD) / weights_V.sum()
    events = training.interactions
    items = [
        torch.from_numpy(events.items[events.events_of(user)]).long() for user in range(training.num_users)
    ]
    kappa = params["support.log_kappa"].detach().exp().cpu()
    return torch.stack(
        [(vectors_VD[own] - mean_D).sum(0) * _HISTORY_GAIN / (len(own) + kappa) for own in items]
    )


def ridge_of_texts(inputs_MX: Tensor, users_M: Tensor, led_ND: Tensor) -> Tensor:
    """Return the ridge regression of users, less their mean, on inputs of their texts, (X, D).

    Args:
        inputs_MX: A row per text.
        users_M: Whose text it is; all texts of a user weigh as much as one.
        led_ND: What to predict per user.
    """
    weights_M1 = torch.bincount(users_M)[users_M].rsqrt()[:, None]
    wanted_MD = (led_ND[users_M] - led_ND.mean(0)) * weights_M1
    head_XD, _ = ridge((inputs_MX * weights_M1).numpy(), wanted_MD.numpy(), center=False, weight=_USER_RIDGE)
    return torch.from_numpy(head_XD)


def initial_prompt_params(readout: ReadOut) -> dict[str, Tensor]:
    """Return the prompt's start at the reference, and equal rates for all its coordinates."""
    return {
        "prompt.start": torch.zeros_like(readout.reference_PH),
        "prompt.log_rates": torch.zeros_like(readout.reference_PH),
    }


def _stretched_factors(training: Dataset, warm_V: np.ndarray, start: ItemStart, seed: int) -> Floats:
    if start.num_factors > training.num_items:
        raise BadInputError(
            field="model.num_factors",
            value=start.num_factors,
            remedy=f"Choose at most the number of items, {training.num_items}.",
        )
    factors_VD = fit_item_factors(
        training,
        num_factors=start.num_factors,
        regularization=start.regularization,
        alpha=start.alpha,
        num_iterations=start.num_iterations,
        seed=seed,
    ).astype(np.float64)
    values_D, basis_DD = np.linalg.eigh(
        factors_VD.T @ factors_VD + start.regularization * np.eye(start.num_factors)
    )
    stretched_VD = factors_VD @ (basis_DD / np.sqrt(values_D)) @ basis_DD.T
    length = np.sqrt((stretched_VD[warm_V] ** 2).sum(axis=1).mean())
    # Factors can vanish where there are hardly any events; a random draw keeps directions to learn along.
    noise = derive(seed, "items").standard_normal(stretched_VD.shape) * 1e-3
    vectors_VD: Floats = ((stretched_VD / max(length, 1e-6) + noise) * start.norm).astype(np.float32)
    return vectors_VD


def ridge(
    inputs: np.ndarray, targets: np.ndarray, *, center: bool, weight: float = _TEXT_RIDGE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ridge weights and, where centred, the mean of the targets (else zeros)."""
    inputs = inputs.astype(np.float64)
    mean = targets.mean(axis=0) if center else np.zeros(targets.shape[1])
    gram = inputs.T @ inputs + weight * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ (targets - mean))
    return weights.astype(np.float32), np.asarray(mean, dtype=np.float32)


def _rating_sizes(levels_R: Tensor) -> Tensor:
    """Return sizes whose softplus is 0.2 + 1.1 level for pulls; pushes start near their least size.

    So on a scale of 1 to 5 two stars weigh .48, four 1.03 and five 1.3.
    """
    pulls_R = torch.log(torch.expm1(0.2 + 1.1 * levels_R))
    return torch.where(levels_R < PUSHING_SHARE, -5.0, pulls_R)


def _rating_levels(training: Dataset) -> tuple[Tensor, tuple[float, float]]:
    ratings, scale = training.interactions.ratings, training.rating_scale
    if ratings is None or scale is None or scale[1] <= scale[0]:
        return torch.zeros(0), (0.0, 0.0)
    low, high = float(scale[0]), float(scale[1])
    seen = np.unique(ratings[np.isfinite(ratings)])
    levels = np.unique(np.concatenate([[low, high], seen if len(seen) <= 11 else []]))
    return torch.from_numpy((levels - low) / (high - low)).float(), (low, high)
