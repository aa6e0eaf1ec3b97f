"""One tree of settings: defaults < TOML file < environment < flags.

The tree is two levels deep: sections of frozen dataclasses. A new setting is one
annotated line in its section; reading, checking, the environment variable, the
codec and the reference page follow from the annotation.

    [train]                            # the TOML file
    epochs = 12
    WARMPROMPT_TRAIN__EPOCHS=12        # the environment
    {"train.epochs": 12}               # flags, as the commands pass them

Only this file and `assembly` know the tree; everything else takes plain arguments.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from warmprompt.errors import BadInputError, UnknownNameError

ENVIRONMENT_PREFIX = "WARMPROMPT_"


def _device(value: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", value):
        raise ValueError("It should be cpu, cuda or, for one of several, cuda:1")
    return value


Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Counts = Annotated[tuple[CountOrZero, ...], Field(min_length=1)]
PositiveOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Device = Annotated[str, AfterValidator(_device)]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which data set, and what counts as liked.

    Attributes:
        name: A data set that `warmprompt data get` or `data import` stored.
        min_rating: Ratings below it are no query positives; without it every event is one.
    """

    name: Name = "ml-100k"
    min_rating: Finite | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """The frozen language models.

    Attributes:
        name: Backbone that carries the soft prompt: a known name, a hub id or a folder.
        num_layers: Read out after this many layers; without it after the last.
        dtype: Arithmetic of the frozen weights.
        device: Where it runs.
        item_text: Frozen model that embeds the items' texts.
    """

    name: Name = "smollm2-135m"
    num_layers: Count | None = 6
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Device = "cpu"
    item_text: Name = "minilm-l6"


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """The soft prompt every user starts from.

    Attributes:
        length: Prompt vectors per user.
        init: Where the start comes from before training: vocabulary sample, a text, or a normal draw.
        text_init: The text for init = "text".
    """

    length: Count = 4
    init: Literal["vocab", "text", "normal"] = "vocab"
    text_init: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """From the read-out to scores.

    Attributes:
        num_factors: Width of user and item vectors.
        popularity_bias: Whether scores carry a learned weight of item popularity.
    """

    num_factors: Count = 64
    popularity_bias: bool = True


@dataclass(frozen=True, kw_only=True)
class InnerSettings:
    """The inner loop: one user's prompt moving towards that user's events.

    Attributes:
        num_steps: Gradient steps on the support set.
        second_order: Whether the meta-gradient goes through the steps (exact MAML).
    """

    num_steps: CountOrZero = 2
    second_order: bool = False


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """The outer loop.

    Attributes:
        name: reptile, fomaml, maml, meta-sgd, multitask or closed-form.
    """

    name: Name = "fomaml"


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Training over users.

    Attributes:
        seed: The one seed everything random derives from.
        epochs: Passes over the training users at most.
        warm_epochs: Passes that fit the head and the item vectors before prompts are adapted.
        batch_size: Users per outer step.
        lr: Peak rate of the outer optimiser.
        patience: Validation rounds without a gain before training stops.
        clip_norm: Largest norm of an outer gradient.
    """

    seed: CountOrZero = 0
    epochs: Count = 10
    warm_epochs: CountOrZero = 2
    batch_size: Count = 32
    lr: Positive = 1e-3
    patience: Count = 3
    clip_norm: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Evaluation of users never seen in training.

    Attributes:
        protocol: How support and query are drawn.
        k: Sizes of the support set.
        seeds: Split seeds.
    """

    protocol: Literal["random", "next", "gap10", "next10", "temporal", "cold-item"] = "random"
    k: Counts = (0, 1, 3, 5, 10, 20)
    seeds: Counts = (0,)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole tree, one attribute per section."""

    data: DataSettings = field(default_factory=DataSettings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    inner: InnerSettings = field(default_factory=InnerSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)


def load_settings(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings that a file, the environment and flags add up to.

    Args:
        file: A TOML file with the sections of the tree, or None.
        environment: Variables such as `WARMPROMPT_TRAIN__EPOCHS`; those without the prefix and a
            double underscore are not settings and are ignored. Lists are written "0,1,5"; an empty
            value means none where a setting may be none.
        flags: Values by dotted name ("train.epochs"); None means the flag was not given.

    Raises:
        UnknownNameError: A section or key that the tree does not have; names the nearest.
        BadInputError: A file that is not TOML, or a value of the wrong type or range.
    """
    values: dict[str, _Given] = {}
    if file is not None:
        values |= _flatten(_read_toml(file), place=f" in {file}")
    values |= _from_environment(environment or {})
    values |= {
        name: _Given(label=f"{name} (flag)", value=value)
        for name, value in (flags or {}).items()
        if value is not None
    }
    return _build(values)


def from_mapping(mapping: Mapping[str, object]) -> Settings:
    """Return the settings of a nested mapping, as `to_mapping` or a manifest holds it.

    Missing keys take their defaults, so that a file from before a setting existed still loads.

    Raises:
        UnknownNameError: A section or key that the tree does not have.
        BadInputError: A value of the wrong type or range; nothing is coerced but integers to floats
            and lists to tuples.
    """
    return _build(_flatten(mapping, place=""))


def to_mapping(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings as nested dictionaries of JSON values; `from_mapping` reads them back."""
    return {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for section, values in asdict(settings).items()
    }


def to_toml(settings: Settings) -> str:
    """Return the settings as TOML text that `load_settings` reads back to an equal tree.

    TOML has no word for none, so an unset value is written as the empty string, which no setting
    that may be none accepts otherwise.
    """
    unset_as_text = {
        section: {key: "" if value is None else value for key, value in values.items()}
        for section, values in to_mapping(settings).items()
    }
    return tomli_w.dumps(unset_as_text)


def setting_names() -> list[str]:
    """Return every dotted name of the tree ("train.epochs"), in the tree's order."""
    return list(_annotations())


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A value and how to name it in a message."""

    label: str
    value: object


@cache
def _sections() -> dict[str, Any]:
    return get_type_hints(Settings)


@cache
def _annotations() -> dict[str, Any]:
    return {
        f"{section}.{key}": hint
        for section, kind in _sections().items()
        for key, hint in get_type_hints(kind, include_extras=True).items()
    }


def _build(values: Mapping[str, _Given]) -> Settings:
    kwargs: dict[str, dict[str, Any]] = {section: {} for section in _sections()}
    for name, given in values.items():
        section, _, key = name.partition(".")
        kwargs[section][key] = _check(name, given)
    return Settings(
        **{section: kind(**kwargs[section]) for section, kind in get_type_hints(Settings).items()}
    )


def _annotation(name: str, given: _Given) -> Any:
    if name not in _annotations():
        raise _unknown(name, list(_annotations()), given)
    return _annotations()[name]


def _unknown(name: str, known: list[str], given: _Given) -> UnknownNameError:
    from rapidfuzz import process

    nearest = ", ".join(match for match, _, _ in process.extract(name, known, limit=2))
    remedy = f"There is no such setting; the nearest are {nearest}."
    return UnknownNameError(field=given.label, value=given.value, remedy=remedy)


def _check(name: str, given: _Given) -> Any:
    may_be_none = type(None) in get_args(_annotation(name, given))
    value = tuple(given.value) if isinstance(given.value, list) else given.value
    if value == "" and may_be_none:
        return None
    try:
        return _adapter(name).validate_python(value, strict=True)
    except ValidationError as error:
        raise _bad_value(given, error) from None


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_annotations()[name])


def _bad_value(given: _Given, error: ValidationError) -> BadInputError:
    first = error.errors()[0]
    place = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
    remedy = (
        first["msg"]
        .removeprefix("Value error, ")
        .replace("Input", "It")
        .replace("String", "It")
        .replace("Tuple", "It")
    )
    return BadInputError(field=f"{given.label}{place}", value=first["input"], remedy=f"{remedy}.")


def _flatten(mapping: Mapping[str, object], *, place: str) -> dict[str, _Given]:
    """Return {"section.key": value}; a section that is no table is refused."""
    values = {}
    for section, inner in mapping.items():
        given = _Given(label=f"[{section}]{place}", value=inner)
        if section not in _sections():
            raise _unknown(section, list(_sections()), given)
        if not isinstance(inner, Mapping):
            raise BadInputError(field=given.label, value=inner, remedy="It should be a table of settings.")
        for key, value in inner.items():
            values[f"{section}.{key}"] = _Given(label=f"{section}.{key}{place}", value=value)
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    values = {}
    for variable, text in environment.items():
        section, separator, key = variable.removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if not variable.startswith(ENVIRONMENT_PREFIX) or not separator:
            continue
        name = f"{section}.{key}".lower()
        given = _Given(label=variable, value=text)
        values[name] = _Given(label=variable, value=_from_text(_annotation(name, given), given))
    return values


def _from_text(hint: Any, given: _Given) -> Any:
    """Return the typed value of a variable's text; `_check` then sees what a TOML file would hold."""
    text = str(given.value)
    element = _element_of(hint)
    if text == "" and type(None) in get_args(hint):
        return None
    if element is not None:
        return [
            _from_text(element, _Given(label=given.label, value=part.strip())) for part in text.split(",")
        ]
    try:
        return TypeAdapter(hint).validate_strings(text)
    except ValidationError as error:
        raise _bad_value(given, error) from None


def _element_of(hint: Any) -> Any:
    """Return the annotation of a tuple setting's elements, or None for a setting of one value."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_args(bare)[0] if get_origin(bare) is tuple else None


def _read_toml(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except FileNotFoundError:
        raise BadInputError(
            field="settings file", value=file, remedy="It does not exist; check the path."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(
            field="settings file", value=file, remedy=f"It is not valid TOML: {error}."
        ) from None
    except OSError as error:
        raise BadInputError(
            field="settings file", value=file, remedy=f"It cannot be read: {error.strerror}."
        ) from None
