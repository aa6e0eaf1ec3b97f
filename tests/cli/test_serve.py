"""`warmprompt serve` and `warmprompt keys`: mistakes in one line, and a real service on a real port."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from warmprompt.cli import run
from warmprompt.store.opening import open_store

PYTHON = [sys.executable, "-m", "warmprompt"]


@pytest.fixture(autouse=True)
def _log_as_before():
    """Leave the process's logging as it was."""
    log = logging.getLogger("warmprompt.service")
    before = log.handlers[:], log.level
    yield
    log.handlers[:], level = before
    log.setLevel(level)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'users.db'}"


def line_of(capfd, *arguments):
    """Run a command line that must fail; return its exit code and the one line that it says."""
    code = run(arguments)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    return code, said.err


def test_a_key_is_shown_once_and_kept_as_a_hash(capfd, url):
    assert run(["keys", "create", "app", "--scope", "read", "--scope", "write", "--store", url]) == 0
    key = capfd.readouterr().out.strip()
    assert re.fullmatch(r"wp_[\w-]{43}", key)
    with open_store(url) as store:
        (kept,) = store.api_keys()
    assert (kept.name, kept.scopes) == ("app", {"read", "write"})
    assert run(["keys", "list", "--store", url]) == 0
    shown = capfd.readouterr().out
    assert "read, write" in shown
    assert key[3:] not in shown
    assert run(["keys", "revoke", "app", "--store", url]) == 0
    with open_store(url) as store:
        assert store.api_keys()[0].revoked_s is not None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["create", "app", "--scope", "all"], "error: --scope: 'all'. Choose of read, write, admin."),
        (["create", "a b", "--scope", "read"], "error: name of the key: 'a b'."),
        (["revoke", "nobody"], "error: "),
        (["create", "app"], "error: Missing option '--scope'"),
    ],
)
def test_a_mistake_about_keys_is_one_line(capfd, url, arguments, line):
    code, said = line_of(capfd, "keys", *arguments, "--store", url)
    assert code == 2
    assert said.startswith(line)


def test_there_is_no_run(capfd, url, tmp_path):
    code, said = line_of(capfd, "serve", str(tmp_path / "nowhere"), "--store", url, "--port", "0")
    assert code == 2
    assert said.startswith("error: run: ")


def test_the_port_is_taken(capfd, url, trained_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = line_of(capfd, "serve", str(trained_folder), "--store", url, "--port", str(port))
    assert (code, said) == (2, f"error: --port: '{port}'. It is taken; choose another one.\n")


def test_nothing_can_connect_while_the_run_is_loaded(capfd, url, trained_folder, monkeypatch):
    from warmprompt.errors import MismatchError

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tried = []

    def load(_folder):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        tried.append(port)
        raise MismatchError(field="backbone", value="x", remedy="Give the same model.")

    monkeypatch.setattr("warmprompt.service.serving.open_run", load)
    line_of(capfd, "serve", str(trained_folder), "--store", url, "--port", str(port))
    assert tried == [port]


def test_beyond_loopback_a_key_is_needed(capfd, url, trained_folder):
    arguments = ["serve", str(trained_folder), "--store", url, "--port", "0", "--host", "0.0.0.0"]
    code, said = line_of(capfd, *arguments)
    assert code == 2
    assert said.startswith("error: --host: '0.0.0.0'. It can be reached from elsewhere: make a key first")


@pytest.mark.parametrize(
    ("store", "line"),
    [
        ("mysql://x/y", "error: database: 'mysql://x/y'. Give"),
        ("postgresql://u:secret@127.0.0.1:1/nothing", "error: database: "),
        ("sqlite:///FILE/users.db", "error: "),
    ],
)
def test_the_database_is_away(capfd, trained_folder, store, line, tmp_path):
    (tmp_path / "file").touch()
    store = store.replace("FILE", str(tmp_path / "file"))
    code, said = line_of(capfd, "serve", str(trained_folder), "--store", store, "--port", "0")
    assert code == 2
    assert said.startswith(line)
    assert "secret" not in said


def test_an_address_that_cannot_be_listened_on(capfd, url, trained_folder):
    code, said = line_of(
        capfd, "serve", str(trained_folder), "--store", url, "--host", "no.such.host.invalid"
    )
    assert code == 2
    assert said.startswith("error: --host: 'no.such.host.invalid'.")


def test_the_wrong_backbone(capfd, url, trained_folder, tmp_path, monkeypatch):
    from warmprompt.errors import MismatchError

    def other(*_args, **_kwargs):
        raise MismatchError(field="weights_hash of backbone tiny", value="0", remedy="Give the same model.")

    monkeypatch.setattr("warmprompt.service.serving.open_run", other)
    code, said = line_of(capfd, "serve", str(trained_folder), "--store", url, "--port", "0")
    assert code == 2
    assert said.splitlines()[-1].startswith("error: weights_hash of backbone tiny")


def test_a_log_level_that_is_none(capfd, trained_folder):
    code, said = line_of(capfd, "serve", str(trained_folder), "--log-level", "loud")
    assert code == 2
    assert said.startswith("error: --log-level: 'loud'. Choose DEBUG")


def test_a_service_answers_reloads_on_a_signal_and_stops_on_another(capfd, url, trained_folder, tmp_path):
    command = [*PYTHON, "serve", str(trained_folder), "--store", url, "--port", "0", "--watch"]
    with (
        (tmp_path / "log").open("wb") as log_file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log_file, text=True, env=os.environ
        ) as process,
    ):
        try:
            address = process.stdout.readline().removeprefix("serving at ").strip()
            with httpx.Client(base_url=address, timeout=60) as client:
                items = client.get("/v1/items").json()["items"]
                body = {"events": [{"item": items[0]["item"], "rating": 5}]}
                assert client.post("/v1/users/ada%2F1/events", json=body).status_code == 201
                ranking = client.get("/v1/users/ada%2F1/recommendations", params={"budget_ms": 10_000}).json()
                assert (ranking["seq"], ranking["stale"]) == (1, False)
                process.send_signal(signal.SIGHUP)
                code, said = line_of(capfd, *command[len(PYTHON) :])
                assert code == 2
                assert "Another service serves this file" in said
                assert client.get("/v1/users/ada%2F1/recommendations").json()["items"] == ranking["items"]
                metrics = client.get("/metrics").text
                assert "warmprompt_model_info" in metrics
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) in {0, -signal.SIGTERM}
    log = (tmp_path / "log").read_text()
    assert "ada" not in log
    assert "Traceback" not in log
    assert "route=/v1/users/{user_id}/events status=201" in log
    with open_store(url) as store:
        assert json.loads(store.entries("ada/1")[0].body)["rating"] == 5
