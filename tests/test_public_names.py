"""The names other programs may rely on: which they are, that each is there, and that none is heavy."""

import importlib.metadata as metadata
import subprocess
import sys

import pytest

import warmprompt

NAMES = [
    "BadInputError", "Dataset", "EvaluateSettings", "Event", "FaultError", "Known", "MismatchError",
    "Personaliser", "Ranking", "Settings", "UnknownNameError", "UserError", "UserState", "WarmpromptError",
    "evaluate_run", "fit", "load", "load_settings", "train_run",
]  # fmt: skip


def test_the_public_names_are_these_and_at_most_twenty():
    assert warmprompt.__all__ == NAMES
    assert len(NAMES) <= 20
    assert set(NAMES) <= set(dir(warmprompt))


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_there_with_a_docstring(name):
    assert (getattr(warmprompt, name).__doc__ or "").strip()


def test_the_version_is_the_installed_one():
    assert warmprompt.__version__ == metadata.version("warmprompt")
    assert "__version__" in dir(warmprompt)


def test_any_other_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'warmprompt' has no attribute 'nothing'"):
        getattr(warmprompt, "nothing")  # noqa: B009


def test_types_and_settings_come_without_torch():
    code = "import sys; from warmprompt import Event, UserError, load_settings; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
