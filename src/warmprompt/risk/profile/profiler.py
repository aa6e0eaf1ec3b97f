"""One trained profiler in use: observe payments, take in labels as they come due, score the next payment.

    start(entity) -> state                       nothing known
    observe(state, payment) -> state             the same as profiling all payments at once, bit for bit
    report(state, payment id, fraud) -> state    a label, not before it can be known
    score(state, payment) -> estimate            the payment is only looked at

Every adaptation begins at the learned start, so a state depends on the payments, not on how they came
in parts. K is the payments kept, D factors, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from warmprompt.adaptation.packing import read_only_copy
from warmprompt.errors import BadInputError, MismatchError, UnknownNameError
from warmprompt.meta.adapters import PromptAdapter
from warmprompt.meta.task import Task
from warmprompt.risk.profile.calibration import Calibration, fit_calibration
from warmprompt.risk.profile.episodes import MAX_SUPPORT, Episodes
from warmprompt.risk.profile.features import Now, PaymentHistories, payment_features
from warmprompt.risk.profile.model import (
    PaymentBatch,
    pooled_sentences,
    risk_logits,
    standardise_features,
    typicality,
)
from warmprompt.risk.profile.payments import Doubles
from warmprompt.risk.profile.reading import Book, read_book
from warmprompt.risk.profile.state import EntityState, Id, Payment, check_payment
from warmprompt.risk.profile.tasks import RiskLikelihood
from warmprompt.risk.profile.trained import ProfileModel
from warmprompt.risk.profile.training import score_episodes
from warmprompt.risk.profile.words import describe_entities
from warmprompt.types import Floats

Decision = Literal["fraud", "genuine", "unsure"]


@dataclass(frozen=True, kw_only=True)
class RiskEstimate:
    """What is thought of one payment.

    Attributes:
        p_risk: Calibrated probability of fraud.
        p_low: Lower member of its Venn-Abers pair.
        p_high: Upper member.
        decision: `unsure` where the conformal set holds both labels or none: the profiler abstains.
        score: Log-odds before calibration; what payments are ranked by.
        typicality: Log density ratio in nats: above 0 the payment suits this entity better than others.
        num_known: Payments that the profile rests on, K.
    """

    p_risk: float
    p_low: float
    p_high: float
    decision: Decision
    score: float
    typicality: float
    num_known: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiler:
    """A trained model in use. Safe to share between threads.

    Attributes:
        model: Trained.
        calibrations: Per least K, in rising order; the one with the largest K reached is used.
        model_hash: Of everything learned and the frozen weights; states carry it.
    """

    model: ProfileModel
    calibrations: Mapping[int, Calibration]
    model_hash: str

    def start(self, entity: Id) -> EntityState:
        """Return the state of an entity that nothing is known of.

        Raises:
            BadInputError: The id is neither text nor a whole number.
        """
        _check_entity(entity)
        return self._state(entity, (), (), num_seen=0)

    def profile(
        self, entity: Id, payments: Sequence[Payment], labels: Mapping[Id, bool] | None = None
    ) -> EntityState:
        """Return the state after payments, oldest first, and labels by payment id.

        Labels count as they would in `report`: one of a payment not among the last `MAX_SUPPORT` is unknown.

        Raises:
            BadInputError: A payment that cannot be, out of order, or given twice.
            UnknownNameError: A label of a payment that is not kept.
        """
        _check_entity(entity)
        for index, payment in enumerate(payments):
            check_payment(payment, field=f"payment {index}")
            if index and payment.time_s < payments[index - 1].time_s:
                raise _out_of_order(payment, payments[index - 1])
        kept = tuple(payments[-MAX_SUPPORT:])
        _refuse_twice(kept)
        given = dict(labels or {})
        unknown = set(given) - {one.id for one in kept}
        if unknown:
            raise _unknown_payment(sorted(unknown, key=str)[0])
        return self._state(entity, kept, tuple(given.get(one.id) for one in kept), num_seen=len(payments))

    def observe(self, state: EntityState, payment: Payment) -> EntityState:
        """Return the state after one payment more; `state` itself still holds.

        Raises:
            MismatchError: Another model made the state.
            BadInputError: The payment cannot be, is earlier than the last one, or was given before.
        """
        self._check_own(state)
        check_payment(payment)
        if state.payments and payment.time_s < state.payments[-1].time_s:
            raise _out_of_order(payment, state.payments[-1])
        payments = (*state.payments, payment)[-MAX_SUPPORT:]
        _refuse_twice(payments)
        labels = (*state.labels, None)[-MAX_SUPPORT:]
        return self._state(state.entity, payments, labels, num_seen=state.num_seen + 1)

    def report(self, state: EntityState, payment_id: Id, *, fraud: bool, now_s: int) -> EntityState:
        """Return the state after a payment's label became known.

        Raises:
            MismatchError: Another model made the state.
            UnknownNameError: The payment is not among the last `MAX_SUPPORT`.
            BadInputError: The label cannot be known yet, or is no truth value.
        """
        self._check_own(state)
        index = next((i for i, one in enumerate(state.payments) if one.id == payment_id), None)
        if index is None:
            raise _unknown_payment(payment_id)
        due_s = state.payments[index].time_s + self.model.label_delay_s
        if now_s < due_s:
            raise BadInputError(
                field=f"label of payment {payment_id}",
                value=f"at {now_s}",
                remedy=f"It is due at {due_s}; report it then.",
            )
        if not isinstance(fraud, bool):
            raise BadInputError(field=f"label of payment {payment_id}", value=fraud, remedy="Give a bool.")
        labels = (*state.labels[:index], fraud, *state.labels[index + 1 :])
        return self._state(state.entity, state.payments, labels, num_seen=state.num_seen)

    def score(self, state: EntityState, payment: Payment) -> RiskEstimate:
        """Return what is thought of a payment that has just come; the state does not change.

        Raises:
            MismatchError: Another model made the state.
            BadInputError: The payment cannot be, or is earlier than the last one observed.
        """
        self._check_own(state)
        check_payment(payment)
        if state.payments and payment.time_s < state.payments[-1].time_s:
            raise _out_of_order(payment, state.payments[-1])
        model = self.model
        features_1F = payment_features(_now(payment, state.payments), _history(state.payments, state.labels))
        evidence = _evidence(model, features_1F[None], np.ones((1, 1)))
        users_1D = torch.from_numpy(np.array(state.vector_D))[None]
        with torch.no_grad():
            score = float(risk_logits(model.params, model.scaling, evidence, users_1D))
            typical = float(typicality(model.params, model.scaling, evidence, users_1D))
        num_known = len(state.payments)
        calibration = self.calibrations[max(k for k in self.calibrations if k <= num_known)]
        p_risk, p_low, p_high = (float(one[0]) for one in calibration.probabilities(np.array([score])))
        says_fraud, says_genuine = (bool(one[0]) for one in calibration.sets(np.array([score])))
        return RiskEstimate(
            p_risk=p_risk,
            p_low=p_low,
            p_high=p_high,
            decision="unsure" if says_fraud == says_genuine else "fraud" if says_fraud else "genuine",
            score=score,
            typicality=typical,
            num_known=num_known,
        )

    def _state(
        self, entity: Id, payments: tuple[Payment, ...], labels: tuple[bool | None, ...], *, num_seen: int
    ) -> EntityState:
        vector_D, offsets_PH = _adapted(self.model, payments, labels)
        return EntityState(
            entity=entity,
            payments=payments,
            labels=labels,
            num_seen=num_seen,
            vector_D=read_only_copy(vector_D),
            offsets_PH=read_only_copy(offsets_PH),
            model_hash=self.model_hash,
        )

    def _check_own(self, state: EntityState) -> None:
        if state.model_hash != self.model_hash:
            raise MismatchError(
                field="entity state",
                value=f"model {state.model_hash[:12]}",
                remedy=f"This profiler is {self.model_hash[:12]}; profile the entity again.",
            )


def make_profiler(
    model: ProfileModel, calibration: Mapping[int, Episodes], *, level: float = 0.9
) -> Profiler:
    """Return a profiler, calibrated per K on episodes of entities that nothing was fitted or tuned on.

    Args:
        model: Trained.
        calibration: K to episodes with that many payments known; K = 0 must be among them.
        level: Coverage of the conformal sets within each class.

    Raises:
        BadInputError: No K = 0, or too few frauds.
    """
    if 0 not in calibration:
        raise BadInputError(field="calibration", value=sorted(calibration), remedy="Give K = 0 too.")
    fitted = {
        k: fit_calibration(score_episodes(model, calibration[k]), calibration[k].fraud_R, level=level)
        for k in sorted(calibration)
    }
    return Profiler(model=model, calibrations=fitted, model_hash=hash_model(model))


def hash_model(model: ProfileModel) -> str:
    """Return SHA-256 over everything learned, and the frozen model's own hash."""
    digest = hashlib.sha256(model.backbone.weights_hash.encode())
    digest.update(repr((model.settings, model.side, model.label_delay_s, model.backbone.num_layers)).encode())
    for name in sorted(model.params):
        digest.update(name.encode() + model.params[name].numpy().tobytes())
    digest.update(repr(model.population.weight).encode())
    for owner in (model.scaling, model.readout, model.population.boosting, model.population.forest):
        for name, value in sorted(vars(owner).items()):
            array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def _adapted(
    model: ProfileModel, payments: tuple[Payment, ...], labels: tuple[bool | None, ...]
) -> tuple[Floats, Floats]:
    """Return the entity vector and the prompt's offset after steps on what is kept."""
    history = _history(payments, labels)
    book = _book(model, describe_entities(history, side=model.side)[0])
    num_features = len(model.scaling.mean_F)
    features_1KF = np.zeros((1, MAX_SUPPORT, num_features))
    for index, payment in enumerate(payments):
        # Each payment as it looked when it came: labels due by then, payments before it.
        due = tuple(
            label if one.time_s + model.label_delay_s <= payment.time_s else None
            for one, label in zip(payments[:index], labels, strict=False)
        )
        features_1KF[0, MAX_SUPPORT - len(payments) + index] = payment_features(
            _now(payment, payments[:index]), _history(payments[:index], due)
        )[0]
    support = _evidence(model, features_1KF, history.mask_RK.astype(np.float64), history)
    adapter = PromptAdapter(
        features_BT=torch.cat(
            [book.features_NT, pooled_sentences(model.scaling, features_1KF, history)], dim=1
        ),
        backbone=model.backbone,
        readout=model.readout,
        prefix=book.prefix,
        reference_BH=book.reference_NH,
    )
    objective = RiskLikelihood(support=support, query=support)
    task = Task(adapter=adapter, objective=objective, data=model.scaling).at(model.params)
    with torch.no_grad():
        moved = task.adapted() if payments else task.start
        vector_D = task.users(moved)[0]
    return vector_D.numpy(), moved[0].numpy()


@lru_cache(maxsize=512)
def _book(model: ProfileModel, text: str) -> Book:
    return read_book(model.backbone, model.readout, [text])


def _evidence(
    model: ProfileModel, features_BKF: Doubles, mask_BK: Doubles, history: PaymentHistories | None = None
) -> PaymentBatch:
    blank = np.zeros_like(mask_BK)
    known_BK = blank if history is None else history.known_RK.astype(np.float64)
    fraud_BK = blank if history is None else history.fraud_RK.astype(np.float64)
    return PaymentBatch(
        features_BKF=standardise_features(model.scaling, features_BKF),
        offset_BK=torch.from_numpy(model.population.log_odds(features_BKF)).float(),
        mask_BK=torch.from_numpy(mask_BK).float(),
        known_BK=torch.from_numpy(known_BK).float(),
        fraud_BK=torch.from_numpy(fraud_BK).float(),
    )


def _now(payment: Payment, before: Sequence[Payment]) -> Now:
    numbers = _numbers(before)
    return Now(
        time_R=np.array([payment.time_s], dtype=np.int64),
        amount_R=np.array([payment.amount_minor / 100]),
        counterparty_R=np.array([numbers.get(payment.counterparty, -2)], dtype=np.int64),
        context_RC=np.array([payment.context], dtype=np.float64),
    )


def _history(payments: Sequence[Payment], labels: Sequence[bool | None]) -> PaymentHistories:
    """Return one row, padded on the left."""
    empty = MAX_SUPPORT - len(payments)
    numbers = _numbers(payments)

    def row(values: Sequence[float | bool], dtype: type, fill: float = 0) -> np.ndarray:
        return np.array([[fill] * empty + list(values)], dtype=dtype)

    return PaymentHistories(
        time_RK=row([one.time_s for one in payments], np.int64),
        amount_RK=row([one.amount_minor / 100 for one in payments], np.float64),
        counterparty_RK=row([numbers[one.counterparty] for one in payments], np.int64, fill=-1),
        mask_RK=row([True] * len(payments), np.bool_),
        known_RK=row([label is not None for label in labels], np.bool_),
        fraud_RK=row([label is True for label in labels], np.bool_),
    )


def _numbers(payments: Sequence[Payment]) -> dict[Id, int]:
    return {name: index for index, name in enumerate(dict.fromkeys(one.counterparty for one in payments))}


def _check_entity(entity: object) -> None:
    if isinstance(entity, bool) or not isinstance(entity, str | int):
        raise BadInputError(field="entity", value=entity, remedy="Give its id as text or a whole number.")


def _refuse_twice(payments: Sequence[Payment]) -> None:
    ids = [one.id for one in payments]
    if len(set(ids)) < len(ids):
        twice = next(one for index, one in enumerate(ids) if one in ids[:index])
        raise BadInputError(field="payment id", value=twice, remedy="It was given before; ids are unique.")


def _out_of_order(payment: Payment, last: Payment) -> BadInputError:
    return BadInputError(
        field=f"time_s of payment {payment.id}",
        value=payment.time_s,
        remedy=f"The last payment came at {last.time_s}; give payments in order of time.",
    )


def _unknown_payment(payment_id: Id) -> UnknownNameError:
    return UnknownNameError(
        field="payment id", value=payment_id, remedy=f"A state keeps the last {MAX_SUPPORT} payments."
    )
