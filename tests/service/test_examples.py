"""The examples, run as a reader runs them, against a real service with and without a key."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.service.talking import listening
from tests.service.test_security import give_key

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*command):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"no_proxy": "*"}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["open", "with a key"])
def served(request, service, store):
    """Yield the arguments of an example: the address, and a key if one is needed."""
    key = None
    if request.param == "with a key":
        key = give_key(store, "read", "write")
        service.auth.is_open = False
    with listening(service) as address:
        yield [address] + ([key] if key else [])


def test_python_client_runs_to_the_end(served, store, personaliser):
    code, output, complaint = run(sys.executable, str(EXAMPLES / "client.py"), *served)
    assert (code, complaint) == (0, "")
    lines = output.splitlines()
    assert lines[0].removeprefix("liked: ") in {personaliser.title(item) for item in personaliser.items}
    assert [line.partition(".")[0] for line in lines[1:6]] == ["1", "2", "3", "4", "5"]
    assert lines[6] == "forgotten: 2 entries"
    assert store.users().users == ()


def test_python_client_reports_errors_in_one_line(served):
    code, _, complaint = run(sys.executable, str(EXAMPLES / "client.py"), served[0], "wp_wrong")
    if len(served) == 1:  # no key is asked for
        assert code == 0
    else:
        assert (code, complaint.splitlines()[-1].startswith("error: API key: ")) == (1, True)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_client_runs_to_the_end(served, store):
    code, output, complaint = run("sh", str(EXAMPLES / "client.sh"), *served)
    assert (code, complaint) == (0, "")
    answers = [line for line in output.splitlines() if line]
    assert len(answers) == 6
    assert '"first_seq":1,"last_seq":2' in answers[1]
    assert '"stale": false' in answers[2]
    assert answers[4].startswith('{"user":"tenant/42"')
    assert '"entries":2' in answers[5]
    assert store.users().users == ()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_client_stops_at_a_refusal(served):
    code, _, _ = run("sh", str(EXAMPLES / "client.sh"), served[0] + "/nowhere")
    assert code != 0
