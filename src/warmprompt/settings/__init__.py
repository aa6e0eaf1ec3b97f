"""One tree of settings: defaults < those of the learner < a preset < TOML file < environment < flags.

The tree is two levels deep: the sections of `tree`.

    [train]                                # the TOML file
    batch_size = 16
    WARMPROMPT_TRAIN__BATCH_SIZE=16        # the environment
    {"train.batch_size": 16}               # flags, as the commands pass them

Only this package and `assembly` know the tree; everything else takes plain arguments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import TypeAdapter, ValidationError

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.settings.presets import LEARNERS, PRESETS, Density, as_measured, preset_for
from warmprompt.settings.tree import (
    BackboneSettings,
    DataSettings,
    EvaluateSettings,
    ExpertSettings,
    InnerSettings,
    LearnerSettings,
    ModelSettings,
    PromptSettings,
    Settings,
    TrainSettings,
)

__all__ = [
    "ENVIRONMENT_PREFIX",
    "PRESETS",
    "BackboneSettings",
    "DataSettings",
    "Density",
    "EvaluateSettings",
    "ExpertSettings",
    "InnerSettings",
    "LearnerSettings",
    "ModelSettings",
    "PromptSettings",
    "Settings",
    "TrainSettings",
    "as_measured",
    "from_mapping",
    "load_settings",
    "preset_for",
    "setting_names",
    "to_mapping",
    "to_toml",
    "with_preset",
]

ENVIRONMENT_PREFIX = "WARMPROMPT_"


def load_settings(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings that a file, the environment and flags add up to, over learner's and preset's.

    The preset "auto" is left open: training chooses it by the data (`with_preset`).

    Args:
        file: A TOML file with the sections of the tree, or None.
        environment: Variables such as `WARMPROMPT_TRAIN__SEED`; those without the prefix and a
            double underscore are not settings and are ignored. Lists are written "0,1,5"; an empty
            value means none where a setting may be none.
        assignments: Texts such as "train.seed=1", written like variables; the last one wins.
        flags: Values by dotted name ("train.seed"); None means the flag was not given.

    Raises:
        UnknownNameError: A section or key that the tree does not have; names the nearest.
        BadInputError: A file that is not TOML, or a value of the wrong type or range.
    """
    values: dict[str, _Given] = {}
    if file is not None:
        values |= _flatten(_read_toml(file), where=f" in {file}")
    values |= _from_environment(environment or {})
    values |= _from_assignments(assignments)
    values |= {
        name: _Given(label=f"{name} (flag)", value=value)
        for name, value in (flags or {}).items()
        if value is not None
    }
    learner = values["learner.name"].value if "learner.name" in values else LearnerSettings.name
    below = {name: _Given(label=name, value=value) for name, value in LEARNERS.get(str(learner), {}).items()}
    settings = replace(_build(below | values), given=frozenset(values))
    return settings if settings.train.preset == "auto" else with_preset(settings, settings.train.preset)


def with_preset(settings: Settings, name: str) -> Settings:
    """Return the settings with a preset's values wherever nobody has said otherwise.

    Said is what `given` names, and whatever differs from the default for the learner.

    Raises:
        UnknownNameError: No such preset.
    """
    if name not in PRESETS:
        listed = ", ".join(PRESETS)
        raise UnknownNameError(field="train.preset", value=name, remedy=f"Choose one of {listed}.")
    values, defaults = _flat(settings), {**_flat(Settings()), **LEARNERS.get(settings.learner.name, {})}
    free = {key for key in values if key not in settings.given and values[key] == defaults[key]}
    selected = {key: value for key, value in PRESETS[name].items() if key in free}
    named = {key: _Given(label=key, value=value) for key, value in (values | selected).items()}
    preset = _Given(label="train.preset", value=name)
    return replace(_build(named | {"train.preset": preset}), given=settings.given)


def from_mapping(mapping: Mapping[str, object]) -> Settings:
    """Return the settings of a nested mapping, as `to_mapping` or a manifest holds it.

    Missing keys take their defaults, so that a file from before a setting existed still loads.

    Raises:
        UnknownNameError: A section or key that the tree does not have.
        BadInputError: A value of the wrong type or range; nothing is coerced but integers to floats
            and lists to tuples.
    """
    values = _flatten(mapping, where="")
    return replace(_build(values), given=frozenset(values))


def to_mapping(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings as nested dictionaries of JSON values; `from_mapping` reads them back."""
    return {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for section, values in asdict(replace(settings, given=frozenset())).items()
        if section in _sections()
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
    """Return every dotted name of the tree ("train.seed"), in the tree's order."""
    return list(_annotations())


def _flat(settings: Settings) -> dict[str, object]:
    """Return the values by dotted name, as they stand in the tree."""
    return {
        f"{section}.{key}": value
        for section in _sections()
        for key, value in vars(getattr(settings, section)).items()
    }


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A value and how to name it in a message."""

    label: str
    value: object


@cache
def _sections() -> dict[str, Any]:
    return {name: kind for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)}


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
    return Settings(**{section: kind(**kwargs[section]) for section, kind in _sections().items()})


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
    where = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
    remedy = (
        first["msg"]
        .removeprefix("Value error, ")
        .replace("Input", "It")
        .replace("String", "It")
        .replace("Tuple", "It")
    )
    return BadInputError(field=f"{given.label}{where}", value=first["input"], remedy=f"{remedy}.")


def _flatten(mapping: Mapping[str, object], *, where: str) -> dict[str, _Given]:
    """Return {"section.key": value}; a section that is no table is refused."""
    values = {}
    for section, inner in mapping.items():
        given = _Given(label=f"[{section}]{where}", value=inner)
        if section not in _sections():
            raise _unknown(section, list(_sections()), given)
        if not isinstance(inner, Mapping):
            raise BadInputError(field=given.label, value=inner, remedy="It should be a table of settings.")
        for key, value in inner.items():
            values[f"{section}.{key}"] = _Given(label=f"{section}.{key}{where}", value=value)
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


def _from_assignments(assignments: Sequence[str]) -> dict[str, _Given]:
    values = {}
    for text in assignments:
        name, separator, value = text.partition("=")
        if not separator:
            raise BadInputError(field="--set", value=text, remedy="Write it as section.key=value.")
        given = _Given(label=f"{name} (--set)", value=value)
        values[name] = _Given(label=given.label, value=_from_text(_annotation(name, given), given))
    return values


def _from_text(hint: Any, given: _Given) -> Any:
    """Return the typed value of a variable's text; `_check` then sees what a TOML file would hold."""
    text = str(given.value)
    element = _element_of(hint)
    if text == "" and type(None) in get_args(hint):
        return None
    if element is not None and text == "":
        return []
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
    # A tuple that may be none is a union with None.
    of_several = [bare, *get_args(bare)]
    return next((get_args(one)[0] for one in of_several if get_origin(one) is tuple), None)


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
