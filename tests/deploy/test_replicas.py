"""Two replicas behind nginx over one PostgreSQL, on loopback: the file in deploy/ as it is but for ports."""

import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from tests.store.postgresql import MISSING, binaries, make_server, remove

from warmprompt import load
from warmprompt.store.opening import open_store

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = os.environ.get("NGINX") or shutil.which("nginx")
USERS = [f"user {number}/x" for number in range(12)]

pytestmark = [pytest.mark.usefixtures("text_home"), pytest.mark.slow]


@pytest.fixture(scope="module")
def database():
    if NGINX is None:
        pytest.skip("nginx is not installed: NGINX=... names it")
    found = binaries()
    if found is None and os.environ.get("WARMPROMPT_SKIP_POSTGRESQL") == "1":
        pytest.skip("WARMPROMPT_SKIP_POSTGRESQL=1")
    assert found is not None, MISSING
    made = make_server(found)
    yield made.new_database("replicas")
    remove(made)


@pytest.fixture(scope="module")
def replicas(database, trained_folder):
    """Return two processes by port."""
    started = {}
    for _ in range(2):
        command = [sys.executable, "-m", "warmprompt", "serve", str(trained_folder), "--store", database]
        command += ["--port", "0", "--rate", "0", "--log-level", "ERROR"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        address = process.stdout.readline()
        assert address.startswith("serving at "), address
        started[int(address.rsplit(":", 1)[1])] = process
    yield started
    for process in started.values():
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def proxy(replicas, tmp_path_factory):
    """Return the proxy's address and the file where it notes who answered what."""
    folder = tmp_path_factory.mktemp("nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = "log_format who '$upstream_addr $status $request_uri'; access_log access.log who;"
    changes = {"8000;": f"{port};", "/tmp/warmprompt-nginx.pid": str(folder / "pid"), "access_log off;": log}
    changes |= {f":{usual} ": f":{own} " for usual, own in zip((8001, 8002), replicas, strict=True)}
    text = (DEPLOY / "replicas-nginx.conf").read_text()
    for usual, own in changes.items():
        assert usual in text
        text = text.replace(usual, own)
    temporary = "".join(
        f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {", f"http {{ {temporary}").replace("access.log", str(folder / "access.log"))
    (folder / "nginx.conf").write_text(text)
    with (folder / "error.log").open("w") as errors:
        process = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"], stderr=errors)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    assert process.poll() is None, (folder / "error.log").read_text()
    yield f"http://127.0.0.1:{port}", folder / "access.log"
    process.terminate()
    process.wait()


def path_of(user, what):
    return f"/v1/users/{user.replace('/', '%2F')}/{what}"


def post(client, user, item, key):
    """Post an event until it is acknowledged; return how many tries that took."""
    for number in range(1, 200):
        try:
            answer = client.post(
                path_of(user, "events"), json={"events": [{"item": item}]}, headers={"Idempotency-Key": key}
            )
            if answer.status_code in (200, 201):
                return number
            assert answer.status_code in (502, 503, 504), answer.text
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not acknowledged")


def test_a_user_meets_one_replica_and_both_work(proxy, trained_folder):
    address, log = proxy
    items = load(trained_folder).items
    with httpx.Client(base_url=address, timeout=30) as client:
        for number, user in enumerate(USERS):
            for step in range(3):
                assert post(client, user, items[3 * number + step], f"a{number}-{step}") == 1
            ranking = client.get(path_of(user, "recommendations"), params={"budget_ms": 9000})
            assert ranking.json()["last_seq"] == 3
        assert client.get("/v1/admin/reload").status_code == 404
        assert client.get("/metrics").status_code == 404
    met = collections.defaultdict(set)
    for line in log.read_text().splitlines():
        replica, _, uri = line.split(" ", 2)
        if uri.startswith("/v1/users/"):
            met[uri.split("/")[3]].add(replica)
    assert len(met) == len(USERS)
    assert {len(found) for found in met.values()} == {1}
    assert len(set.union(*met.values())) == 2


def test_the_other_replica_ranks_alike(proxy, replicas):
    del proxy
    for user in USERS[:4]:
        rankings = []
        for port in replicas:
            answer = httpx.get(
                f"http://127.0.0.1:{port}{path_of(user, 'recommendations')}",
                params={"budget_ms": 9000},
                headers={"Host": "localhost"},
                timeout=30,
            )
            rankings.append(answer.json()["items"])
        assert rankings[0] == rankings[1]


def test_a_killed_replica_loses_no_event_and_is_left_out_within_five_seconds(
    proxy, replicas, database, trained_folder
):
    address, _ = proxy
    items = load(trained_folder).items
    victim = next(iter(replicas.values()))
    late, acknowledged = [], collections.defaultdict(list)
    with httpx.Client(base_url=address, timeout=30) as client:
        for round_ in range(12):
            if round_ == 4:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                killed_s = time.monotonic()
            for number, user in enumerate(USERS):
                item = items[(5 * number + round_) % len(items)]
                begun_s = time.monotonic()
                tries = post(client, user, item, f"b{number}-{round_}")
                client.get(path_of(user, "recommendations"))
                acknowledged[user].append(item)
                if round_ >= 4 and (tries > 1 or time.monotonic() - begun_s > 2):
                    late.append(begun_s - killed_s)
    assert all(seconds < 5 for seconds in late)
    with open_store(database) as store:
        for user, wanted in acknowledged.items():
            entries = [json.loads(entry.body)["item"] for entry in store.entries(user)]
            assert entries[3:] == wanted


def test_the_composition_names_the_ports_of_the_proxy():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ports = {services[name]["command"][-1] for name in services if name.startswith("replica")}
    conf = (DEPLOY / "replicas-nginx.conf").read_text()
    assert ports == set(re.findall(r"server 127\.0\.0\.1:(\d+)", conf))
    assert {services[name]["network_mode"] for name in services if name.startswith("replica")} == {
        "service:proxy"
    }
    shell = services["proxy"]["command"][-1]
    assert "listen 127.0.0.1:8000;" in conf
    assert re.search(r"s/listen 127\.0\.0\.1:8000/listen 8000/", shell)
