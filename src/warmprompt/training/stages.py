"""Training as a list of named stages with one signature, each kept on disk when it is done.

    start           item vectors, texts as the models read them, how prompts move the model
    meta_learning   the outer loop, in the linear response and then through the language model
    new_items       where items without events go
    experts         count-based scores and the weights of all experts
    order           experts of order, for users whose events have one
    response        whether users adapt in the linear response

Resuming, progress, timings and `until` follow from the list. Of several workers the first one runs the list;
the others take part in the stages marked as shared, and write nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.text import embed_texts
from warmprompt.data.attributes import attributes_of
from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import UnknownNameError
from warmprompt.experts.most_popular import MostPopular
from warmprompt.experts.protocol import Encode, FitContext
from warmprompt.files import write_atomic, writing_to
from warmprompt.meta.learner import Learner
from warmprompt.meta.learners import learner_of
from warmprompt.meta.scalars import write_scalars
from warmprompt.meta.tasks import TrainingInputs, stages_of
from warmprompt.meta.texts import write_texts
from warmprompt.meta.trainer import TrainingProgress, TrainState, start_training, train
from warmprompt.meta.workers import ALONE, Workers
from warmprompt.runs.format import STAGES_FILE, Trained, header_of, pack, tensors_of, unpack, with_tensors
from warmprompt.runs.models import open_backbone
from warmprompt.runs.training_state import STATE, check_identity, load_state, save_state, seconds_of
from warmprompt.settings import Settings
from warmprompt.training.mixture_weights import choose_weights, fit_context, fit_experts, score_of
from warmprompt.training.new_items import place_new_items
from warmprompt.training.order import choose_order, order_line
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.response import judge_linear_response
from warmprompt.training.start import build_start, drawing_of, plan_of
from warmprompt.training.unknown_users import weigh_most_popular


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What a training is asked to do; nothing in it changes.

    Attributes:
        settings: The whole tree.
        training: Events of training users.
        validation: Events of validation users.
        folder: Of the run.
        identity: What two trainings must share to end in the same model.
        progress: Receives lines, steps and validations.
        workers: Processes among which shared stages are divided.
    """

    settings: Settings
    training: Dataset
    validation: Dataset
    folder: Path
    identity: Mapping[str, Any]
    progress: ProgressCallback
    workers: Workers = ALONE

    @cached_property
    def learner(self) -> Learner:
        """The learner that the settings name."""
        return learner_of(self.settings.learner.name)

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen language model, loaded when it is first needed."""
        return open_backbone(self.settings, second_order=self.learner.needs_second_order)


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """A model as far as its training is.

    Attributes:
        trained: The model.
        features: Text features of every text that training reads, and of "", (T,) each.
        seconds: By stage that is done: seconds by the clock and of the processor.
    """

    trained: Trained
    features: Mapping[str, Tensor]
    seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def no_text_T(self) -> Tensor:
        """Text features of the empty text, as training reads it."""
        return self.features[""]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        name: As `until` takes it.
        line: What is reported when it begins; None where the stage reports itself.
        run: Takes the draft of the stage before and returns its own.
        shared: Whether all workers run it together.
    """

    name: str
    line: str | None
    run: Callable[[TrainingJob, Draft], Draft]
    shared: bool = False


def run_stages(job: TrainingJob, stages: Sequence[Stage], *, until: str | None = None) -> Draft | None:
    """Run the stages that are not done yet, and keep each result; None where `until` ends them early.

    Raises:
        UnknownNameError: No stage is called like `until`.
        MismatchError: The folder holds unfinished training of other settings, data or another backbone.
    """
    names = [stage.name for stage in stages]
    if until is not None and until not in names:
        raise UnknownNameError(field="--until", value=until, remedy=f"The stages are {', '.join(names)}.")
    draft = _load(job) or _blank(job)
    for stage in stages:
        if stage.name not in draft.seconds:
            if stage.line is not None:
                job.progress(stage.line)
            begun_s, begun_cpu_s = time.monotonic(), time.process_time()
            if stage.shared:
                job.workers.share((stage.name, draft))
            draft = stage.run(job, draft)
            earlier_s, earlier_cpu_s = draft.seconds.get(stage.name, (0.0, 0.0))
            spent = (
                earlier_s + time.monotonic() - begun_s,
                earlier_cpu_s + time.process_time() - begun_cpu_s,
            )
            draft = replace(draft, seconds={**draft.seconds, stage.name: spent})
            if stage.name != names[-1]:
                _save(job, draft)
        if stage.name == until and stage.name != names[-1]:
            return None
    return draft


def join_stages(job: TrainingJob, stages: Sequence[Stage]) -> None:
    """Take part in each shared stage that the first worker begins, until it says that there is no other.

    Raises:
        WorkerLostError: The first worker has ended.
    """
    runs = {stage.name: stage.run for stage in stages}
    begun: tuple[str, Draft] | None
    while (begun := job.workers.share()) is not None:
        name, draft = begun
        runs[name](job, draft)


def _start(job: TrainingJob, draft: Draft) -> Draft:
    start = build_start(
        job.settings,
        job.training,
        job.validation,
        job.backbone,
        learner=job.learner,
        progress=job.progress,
    )
    trained = replace(
        draft.trained,
        params=dict(start.params),
        data=start.data,
        readout=start.readout,
        # An encoder's mean over the run's own texts represents no text, and has no features.
        no_text_T=start.features[""] * (job.settings.backbone.user_text is None),
    )
    return replace(draft, trained=trained, features=start.features)


def _meta_learning(job: TrainingJob, draft: Draft) -> Draft:
    device = job.settings.backbone.device
    path, workers = job.folder / STATE, job.workers
    own = load_state(path, identity=job.identity, device=device) if workers.is_first else None
    saved: TrainState | None = workers.share(own)
    if saved:
        job.progress(f"going on after stage {saved.stage + 1}, epoch {saved.epoch}, batch {saved.batch}")
    earlier_s, earlier_cpu_s = seconds_of(path) if workers.is_first else (0.0, 0.0)
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    index, plan = job.folder / "tensorboard", plan_of(job.settings)
    drawing = drawing_of(job.settings, num_items=job.training.num_items)

    def save(now: TrainState) -> None:
        if not workers.is_first:
            return
        seconds = (
            earlier_s + time.monotonic() - begun_s,
            earlier_cpu_s + time.process_time() - begun_cpu_s,
        )
        save_state(path, now, identity=job.identity, seconds=seconds)

    scalars = write_scalars(index) if workers.is_first else nullcontext(no_progress)
    with writing_to(index), scalars as write:

        def report(step: TrainingProgress) -> None:
            write(step)
            job.progress(step)

        state = train(
            saved or start_training(job.learner, draft.trained.params),
            stages_of(job.learner, training_inputs(job, draft), drawing, plan),
            plan,
            save=save,
            progress=report,
            workers=workers,
        )
    history = {"history": [list(entry) for entry in state.history]}
    manifest = {**draft.trained.manifest, **history}
    trained = replace(draft.trained, params=state.best, manifest=manifest)
    return replace(
        draft, trained=trained, seconds={**draft.seconds, "meta_learning": (earlier_s, earlier_cpu_s)}
    )


def _new_items(job: TrainingJob, draft: Draft) -> Draft:
    learned = place_new_items(
        draft.trained,
        job.training,
        job.validation,
        passes=job.settings.model.new_item_passes,
        no_text_T=draft.no_text_T,
        seed=job.settings.train.seed,
        order=job.settings.train.order,
    )
    return replace(draft, trained=replace(draft.trained, params={**draft.trained.params, **learned}))


def _experts(job: TrainingJob, draft: Draft) -> Draft:
    settings = job.settings
    experts = fit_experts(job.training, _fit_context(job, draft), settings.experts.use)
    popular = experts.pop(MostPopular.name, None)
    mixture, validation = choose_weights(
        draft.trained,
        experts,
        job.training,
        job.validation,
        kappa=settings.experts.kappa,
        encode=_encode_of(settings),
        no_text_T=draft.no_text_T,
        seed=settings.train.seed,
        order=settings.train.order,
    )
    manifest = {**draft.trained.manifest, "validation": validation}
    trained = replace(draft.trained, experts=mixture, manifest=manifest)
    if isinstance(popular, MostPopular):
        # As the run itself reads no text, which training may read as an average one.
        score = score_of(trained, trained.no_text_T, None)
        weight = weigh_most_popular(score, popular, job.training, job.validation, seed=settings.train.seed)
        trained = replace(trained, experts=mixture.with_weight(popular, weight))
    return replace(draft, trained=trained)


def _order(job: TrainingJob, draft: Draft) -> Draft:
    mixture, found = choose_order(
        draft.trained,
        job.training,
        job.validation,
        _fit_context(job, draft),
        names=job.settings.experts.order,
        no_text_T=draft.no_text_T,
    )
    job.progress(order_line(found))
    manifest = {**draft.trained.manifest, "order": found}
    return replace(draft, trained=replace(draft.trained, experts=mixture, manifest=manifest))


def _fit_context(job: TrainingJob, draft: Draft) -> FitContext:
    settings = job.settings
    return fit_context(
        draft.trained,
        settings.experts,
        texts=item_texts(job.training, untitled="") if settings.backbone.item_text else None,
        encode=_encode_of(settings),
        no_text_T=draft.no_text_T,
        seed=settings.train.seed,
        progress=job.progress,
    )


def _response(job: TrainingJob, draft: Draft) -> Draft:
    train = job.settings.train
    judged = judge_linear_response(
        draft.trained,
        job.backbone,
        job.training,
        job.validation,
        encode=_encode_of(job.settings),
        seed=train.seed,
        order=train.order,
    )
    manifest = {**draft.trained.manifest, "adaptation": judged}
    return replace(draft, trained=replace(draft.trained, manifest=manifest))


STAGES = (
    Stage(name="start", line=None, run=_start),
    Stage(name="meta_learning", line=None, run=_meta_learning, shared=True),
    Stage(name="new_items", line="learning where new items go", run=_new_items),
    Stage(name="experts", line="weighing experts on validation users", run=_experts),
    Stage(name="order", line="weighing experts of order on validation users", run=_order),
    Stage(name="response", line="comparing linear and exact adaptation on validation users", run=_response),
)


def _encode_of(settings: Settings) -> Encode | None:
    """Return what reads the texts of events: the run's sentence encoder, each text once and for all runs."""
    name = settings.backbone.user_text
    return None if name is None else partial(embed_texts, backbone_name=name)


def training_inputs(job: TrainingJob, draft: Draft) -> TrainingInputs:
    """Return what the outer loop reads."""
    settings = job.settings
    pool, validation_pool = (
        write_texts(view, wordings=settings.model.wordings, seed=settings.train.seed)
        for view in (job.training, job.validation)
    )
    return TrainingInputs(
        training=job.training,
        validation=job.validation,
        texts=pool,
        validation_texts=validation_pool,
        data=draft.trained.data,
        backbone=job.backbone,
        readout=draft.trained.readout,
        features=draft.features,
    )


def _blank(job: TrainingJob) -> Draft:
    training = job.training
    trained = Trained(
        params={},
        data=None,  # type: ignore[arg-type]  # of the first stage
        readout=None,  # type: ignore[arg-type]
        learner=job.learner.name,
        item_ids=training.item_ids,
        titles=tuple(training.items["title"].to_list()),
        attributes=attributes_of(training.items),
        rating_scale=training.rating_scale,
        weight_unit=training.weight_unit,
        manifest={"history": []},
    )
    return Draft(trained=trained, features={})


def _save(job: TrainingJob, draft: Draft) -> None:
    texts = list(draft.features)
    tensors = {**tensors_of(draft.trained), "features": torch.stack([draft.features[text] for text in texts])}
    header = {
        **header_of(draft.trained),
        "identity": dict(job.identity),
        "seconds": draft.seconds,
        "manifest": dict(draft.trained.manifest),
        "texts": texts,
    }
    write_atomic(job.folder / STAGES_FILE, pack(tensors, header))


def _load(job: TrainingJob) -> Draft | None:
    path = job.folder / STAGES_FILE
    if not path.is_file():
        return None
    tensors, header = unpack(path, job.settings.backbone.device)
    check_identity(header["identity"], job.identity)
    trained = with_tensors(_blank(job).trained, tensors, header)
    return Draft(
        trained=replace(trained, manifest=header["manifest"]),
        features=dict(zip(header["texts"], tensors["features"], strict=True)),
        seconds={name: tuple(spent) for name, spent in header["seconds"].items()},
    )
