"""From a user vector to the risk of a payment: everything learned that is not the language model.

    risk logit   a offset + b + w z . phi(x) + c t(x)       offset: log-odds of the population model
    typicality   t(x) = z . psi(x) - log mean_m exp(z . psi(r_m))

z is the entity's vector, x a payment in numbers, r reference payments of many entities. t is the log
density ratio of an exponential family: how much likelier the payment is from this entity than from anybody.
On the support side w is 1 and c is 0: how strongly a label speaks about an entity need not be how
strongly the entity speaks about its next payments.

B is entities, K support payments, Q query payments, F features, X event features, M reference payments,
D factors, G hidden units, T text features, S sentences about payments, X their features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warmprompt.risk.profile.features import FEATURE_NAMES, PaymentHistories
from warmprompt.risk.profile.payments import Doubles
from warmprompt.risk.profile.words import sentence_rows
from warmprompt.rng import derive

Params = Mapping[str, Tensor]

# What a payment is in itself, whoever makes it: only these may enter the typicality.
EVENT_COLUMNS = tuple(
    FEATURE_NAMES.index(name)
    for name in (
        "weekend",
        "night",
        "log_amount",
        "hour_sin",
        "hour_cos",
        "above_counterparty",
        "counterparty_count_30d",
    )
)
_CLIP = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """How features are standardised, and the payments that typicality is measured against.

    Attributes:
        mean_F: Of the training rows.
        deviation_F: Of the training rows.
        reference_MF: Standardised features of payments drawn from training entities.
        sentences_SX: Features of every sentence about a payment, as the frozen model reads it; (0, 0) where
            payments are not read.
    """

    mean_F: Tensor
    deviation_F: Tensor
    reference_MF: Tensor
    sentences_SX: Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    def at(self, params: Params) -> RiskModel:
        """Return the model of these parameters."""
        return RiskModel(params=params, scaling=self)


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskModel:
    """Parameters, and the scaling that they were learned with."""

    params: Params
    scaling: Scaling

    def detached(self) -> RiskModel:
        """Return the same model as constants."""
        return replace(self, params={name: value.detach() for name, value in self.params.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class PaymentBatch:
    """Payments of a batch of entities, padded.

    Attributes:
        features_BKF: Standardised.
        offset_BK: Log-odds of the population model.
        mask_BK: 1 at payments, 0 at padding.
        known_BK: 1 where the label is known.
        fraud_BK: The label, 0 where unknown.
    """

    features_BKF: Tensor
    offset_BK: Tensor
    mask_BK: Tensor
    known_BK: Tensor
    fraud_BK: Tensor


def fit_scaling(
    features_RF: Doubles, *, num_reference: int, seed: int, sentences_SX: Tensor | None = None
) -> Scaling:
    """Return mean, deviation and reference payments of training rows, with the sentences' features if any."""
    mean_F, deviation_F = features_RF.mean(axis=0), features_RF.std(axis=0)
    drawn = derive(seed, "reference").integers(len(features_RF), size=num_reference)
    bare = Scaling(
        mean_F=torch.from_numpy(mean_F).float(),
        deviation_F=torch.from_numpy(np.maximum(deviation_F, 1e-6)).float(),
        reference_MF=torch.zeros(0),
    )
    return Scaling(
        mean_F=bare.mean_F,
        deviation_F=bare.deviation_F,
        reference_MF=standardise_features(bare, features_RF[drawn]),
        sentences_SX=bare.sentences_SX if sentences_SX is None else sentences_SX,
    )


def standardise_features(scaling: Scaling, features: Doubles) -> Tensor:
    """Return features with mean 0 and deviation 1 over training rows, cut at 5 deviations.

    Behind them come those of the payments' sentences, without labels, where payments are read.
    """
    scaled = (torch.from_numpy(features).float() - scaling.mean_F) / scaling.deviation_F
    scaled = scaled.clamp(-_CLIP, _CLIP)
    if not len(scaling.sentences_SX):
        return scaled
    return torch.cat([scaled, scaling.sentences_SX[torch.from_numpy(sentence_rows(features))]], dim=-1)


def pooled_sentences(scaling: Scaling, features_BKF: Doubles, history: PaymentHistories) -> Tensor:
    """Return the mean features of each support's sentences, known labels included, (B, X); 0 without any."""
    num = scaling.sentences_SX.shape[1]
    if not num:
        return torch.zeros(len(features_BKF), 0)
    label_code_BK = np.where(history.known_RK, 1 + history.fraud_RK.astype(np.int64), 0)
    indices_BK = torch.from_numpy(sentence_rows(features_BKF, label_code_BK))
    mask_BK = torch.from_numpy(history.mask_RK).float()
    summed_BX = (scaling.sentences_SX[indices_BK] * mask_BK[..., None]).sum(1)
    return summed_BX / mask_BK.sum(1, keepdim=True).clamp(min=1)


def initial_params(  # noqa: PLR0913 - sizes by keyword
    *,
    num_factors: int,
    num_hidden: int,
    num_text: int,
    num_steps: int,
    rate: float,
    seed: int,
    num_sentence: int = 0,
) -> dict[str, Tensor]:
    """Return parameters that leave the population model's scores as they are: w and c are 0."""
    rng = derive(seed, "risk")

    def draw(*shape: int, scale: float) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape) * scale).float()

    num_features, num_event = len(FEATURE_NAMES), len(EVENT_COLUMNS)
    normal_TH = derive(seed, "risk", "sentences").standard_normal((num_sentence, num_hidden))
    of_sentences = torch.from_numpy(normal_TH * num_features**-0.5).float()
    return {
        "phi.hidden": torch.cat([draw(num_features, num_hidden, scale=num_features**-0.5), of_sentences]),
        "phi.hidden_bias": torch.zeros(num_hidden),
        "phi.out": draw(num_hidden, num_factors, scale=0.3 * num_hidden**-0.5),
        "psi.hidden": draw(num_event, num_hidden, scale=num_event**-0.5),
        "psi.hidden_bias": draw(num_hidden, scale=0.5),
        "psi.out": draw(num_hidden, num_factors, scale=num_hidden**-0.5),
        "risk.offset_scale": torch.tensor(1.0),
        "risk.bias": torch.tensor(0.0),
        "risk.own": torch.tensor(0.0),
        "risk.typical": torch.tensor(0.0),
        "support.log_kappa": torch.tensor(float(np.log(5.0))),
        "support.log_label": torch.tensor(0.0),
        "support.log_typical": torch.tensor(0.0),
        "prior.start": torch.zeros(num_factors),
        "prior.text_head": torch.zeros(num_text + num_sentence, num_factors),
        "inner.log_rates": torch.full((num_steps,), float(np.log(rate))),
    }


def risk_logits(params: Params, scaling: Scaling, evidence: PaymentBatch, users_BD: Tensor) -> Tensor:
    """Return the log-odds of fraud of each payment, (B, K)."""
    own_BK = params["risk.own"] * _own(params, evidence, users_BD)
    typical_BK = params["risk.typical"] * typicality(params, scaling, evidence, users_BD)
    return _base(params, evidence) + own_BK + typical_BK


def typicality(params: Params, scaling: Scaling, evidence: PaymentBatch, users_BD: Tensor) -> Tensor:
    """Return the log density ratio of each payment, entity against everybody, (B, K), in nats."""
    level_B = torch.logsumexp(users_BD @ _psi(params, scaling.reference_MF).T, dim=1)
    level_B = level_B - float(np.log(len(scaling.reference_MF)))
    own_BK = torch.einsum("bkd,bd->bk", _psi(params, evidence.features_BKF), users_BD)
    return own_BK - level_B[:, None]


def support_loss(params: Params, scaling: Scaling, support: PaymentBatch, users_BD: Tensor) -> Tensor:
    """Return how badly each vector explains its entity's support, (B,), in nats; 0 without payments.

    Payments with a known label cost their cross-entropy, and every payment minus its log density ratio:
    what an entity usually does is evidence even where no label is due. Divided by K + kappa.
    """
    logits_BK = _base(params, support) + _own(params, support, users_BD)
    label_BK = F.binary_cross_entropy_with_logits(logits_BK, support.fraud_BK, reduction="none")
    usual_BK = -typicality(params, scaling, support, users_BD)
    labelled_B = (label_BK * support.known_BK).sum(1) * params["support.log_label"].exp()
    done_B = (usual_BK * support.mask_BK).sum(1) * params["support.log_typical"].exp()
    return (labelled_B + done_B) / (support.mask_BK.sum(1) + params["support.log_kappa"].exp())


def query_loss(params: Params, scaling: Scaling, query: PaymentBatch, users_BD: Tensor) -> Tensor:
    """Return the mean cross-entropy of each entity's query payments, (B,), in nats; 0 without any."""
    logits_BQ = risk_logits(params, scaling, query, users_BD)
    each_BQ = F.binary_cross_entropy_with_logits(logits_BQ, query.fraud_BK, reduction="none")
    return (each_BQ * query.mask_BK).sum(1) / query.mask_BK.sum(1).clamp(min=1)


def _base(params: Params, evidence: PaymentBatch) -> Tensor:
    return params["risk.offset_scale"] * evidence.offset_BK + params["risk.bias"]


def _own(params: Params, evidence: PaymentBatch, users_BD: Tensor) -> Tensor:
    hidden = torch.tanh(evidence.features_BKF @ params["phi.hidden"] + params["phi.hidden_bias"])
    return torch.einsum("bkd,bd->bk", hidden @ params["phi.out"], users_BD)


def _psi(params: Params, features: Tensor) -> Tensor:
    own = features[..., list(EVENT_COLUMNS)]
    return torch.tanh(own @ params["psi.hidden"] + params["psi.hidden_bias"]) @ params["psi.out"]
