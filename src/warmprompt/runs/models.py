"""The settings of a run, and the frozen models that they name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from warmprompt.errors import MismatchError
from warmprompt.lru import LruCache
from warmprompt.runs.format import Trained
from warmprompt.settings import Settings, from_mapping
from warmprompt.types import Floats

if TYPE_CHECKING:
    from torch import Tensor

    from warmprompt.backbone.load import Backbone

_NUM_TEXTS = 256
_NUM_VECTORS = 4096
_T = TypeVar("_T")


class FrozenModels:
    """The frozen models of a run, each loaded when something first needs it; safe to share between threads.

    Pickles hold the manifest alone: another process loads the models from its own disk.

    Args:
        manifest: Of the run.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._manifest = dict(manifest)
        self._settings = from_mapping(manifest["settings"])
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}
        self._features: LruCache[str, Tensor] = LruCache(_NUM_TEXTS)
        self._vectors: LruCache[str, Floats] = LruCache(_NUM_VECTORS)

    def __reduce__(self) -> tuple[Callable[[str], FrozenModels], tuple[str]]:
        """Pickle as the parts of the manifest that name the models."""
        kept = {name: self._manifest[name] for name in ("settings", "backbone", "user_text")}
        return _shared, (json.dumps(kept, sort_keys=True),)

    @property
    def backbone(self) -> Backbone:
        """The language model.

        Raises:
            MismatchError: It is not the one that the run was trained with.
        """
        return self.once("backbone", self._open_backbone)

    @property
    def encoder(self) -> Backbone | None:
        """The sentence encoder that reads user texts; None where the language model does."""
        return self.once("encoder", lambda: open_encoder(self._settings))

    @property
    def has_encoder(self) -> bool:
        """Whether a sentence encoder reads user texts; loads nothing."""
        return self._settings.backbone.user_text is not None

    @property
    def weights_hash(self) -> str:
        """Of the language model that the run was trained with; loads nothing."""
        return str(self._manifest["backbone"]["weights_hash"])

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """Return what was made under a name, making it for the first who asks."""
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            made: _T = self._made[name]
            return made

    def features_of(self, text: str, make: Callable[[str], Tensor]) -> Tensor:
        """Return the features of a text, kept for the texts that were asked for last."""
        with self._lock:
            known = self._features.get(text)
            if known is None:
                known = make(text)
                self._features.put(text, known)
            return known

    def vector_of(self, text: str, make: Callable[[str], Floats]) -> Floats:
        """Return the text vector of what a user wrote, kept for the texts that were asked for last."""
        with self._lock:
            known = self._vectors.get(text)
            if known is None:
                known = make(text)
                self._vectors.put(text, known)
            return known

    def forget(self, text: str) -> None:
        """Drop what is kept of a text."""
        with self._lock:
            self._features.pop(text)
            self._vectors.pop(text)

    def check(self) -> None:
        """Refuse models that are not those of the run, without loading them.

        Raises:
            MismatchError: Names what differs.
        """
        from warmprompt.backbone.load import weights_hash_of

        settings, trained_with = self._settings.backbone, self._manifest["backbone"]
        user_text = None if settings.user_text is None else weights_hash_of(settings.user_text)
        if self._manifest["user_text"] != user_text:
            raise MismatchError(
                field="encoder of user texts",
                value=user_text,
                remedy=f"The run was trained with {self._manifest['user_text']}: give that, or train again.",
            )
        here: dict[str, Any] = {"weights_hash": weights_hash_of(settings.name)}
        if settings.num_layers is not None:
            here["num_layers"] = settings.num_layers
        _compare(settings.name, here, trained_with)

    def _open_backbone(self) -> Backbone:
        backbone = open_backbone(self._settings)
        here = {"weights_hash": backbone.weights_hash, "num_layers": backbone.num_layers}
        _compare(backbone.name, here, self._manifest["backbone"])
        return backbone


def settings_of(trained: Trained) -> Settings:
    """Return the settings that a run was trained with."""
    return from_mapping(trained.manifest["settings"])


def open_backbone(settings: Settings, *, second_order: bool = False) -> Backbone:
    """Load the backbone that the settings name, fetching a known one on first use."""
    from warmprompt.backbone.load import load_backbone

    return load_backbone(
        settings.backbone.name,
        num_layers=settings.backbone.num_layers,
        dtype=settings.backbone.dtype,
        device=settings.backbone.device,
        attention="eager" if second_order else "sdpa",
    )


def open_encoder(settings: Settings) -> Backbone | None:
    """Load the sentence encoder that reads user texts, on the backbone's device; None where there is none."""
    from warmprompt.backbone.load import load_backbone

    name = settings.backbone.user_text
    return None if name is None else load_backbone(name, device=settings.backbone.device)


_IN_USE: WeakValueDictionary[str, FrozenModels] = WeakValueDictionary()


def _shared(manifest: str) -> FrozenModels:
    """Return the models of a pickle; pickles of one run share them as long as any is in use."""
    models = _IN_USE.get(manifest)
    if models is None:
        models = _IN_USE[manifest] = FrozenModels(json.loads(manifest))
    return models


def _compare(name: str, here: Mapping[str, Any], trained_with: Mapping[str, Any]) -> None:
    for key, value in here.items():
        if trained_with[key] != value:
            raise MismatchError(
                field=f"{key} of backbone {name}",
                value=value,
                remedy=f"The run was trained with {trained_with[key]}; give the same model, or train again.",
            )
