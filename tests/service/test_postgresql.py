"""Two services that share nothing but a real PostgreSQL, and that database going away and coming back."""

import asyncio
import os
from dataclasses import replace

import pytest
from tests.service.talking import asking, log_of, make_service
from tests.store.postgresql import MISSING, binaries, make_server, remove

from warmprompt.service.cached_user import rebuilt
from warmprompt.store.opening import open_store

NUM_EACH = 20


@pytest.fixture(scope="module")
def server():
    found = binaries()
    if found is None and os.environ.get("WARMPROMPT_SKIP_POSTGRESQL") == "1":
        pytest.skip("WARMPROMPT_SKIP_POSTGRESQL=1")
    assert found is not None, MISSING
    made = make_server(found, durable=False)
    yield made
    remove(made)


def test_two_services_survive_a_database_outage(server, tiny_model, settings):
    items = tiny_model.personaliser.items
    shared = replace(settings, shared=True)

    async def talk(first_store, second_store):
        services = [make_service(one, tiny_model, shared) for one in (first_store, second_store)]
        async with asking(services[0]) as one, asking(services[1]) as two:

            async def post(client, number):
                body = log_of(items[number % 60], rating=1 + number % 5)
                answer = await client.post(
                    "/v1/users/ada/events", json=body, headers={"Idempotency-Key": f"k{number}"}
                )
                await client.get("/v1/users/ada/recommendations")
                return answer.status_code

            posted = await asyncio.gather(
                *(
                    post(client, 2 * number + side)
                    for number in range(NUM_EACH)
                    for side, client in enumerate((one, two))
                )
            )
            rankings = [(await client.get("/v1/users/ada/recommendations")).json() for client in (one, two)]
            server.stop(how="immediate")
            away = [(await one.post("/v1/users/ada/events", json=log_of(items[0]))).status_code]
            away += [(await client.get("/readyz")).status_code for client in (one, two)]
            server.start()
            back = [(await client.get("/readyz")).status_code for client in (one, two)]
            later = await post(one, 2 * NUM_EACH)
            last = (await two.get("/v1/users/ada/recommendations")).json()
            for service in services:
                await service.users.writer.drained()
            return posted, rankings, away, back, later, last

    url = server.new_database("shared")
    with open_store(url, busy_s=60) as first, open_store(url, busy_s=60) as second:
        posted, rankings, away, back, later, last = asyncio.run(talk(first, second))
        stored = first.get_state("ada", tiny_model.version)
        log = first.entries("ada")
        again = rebuilt(second, "ada", tiny_model)
    assert set(posted) == {201}
    assert [ranking["last_seq"] for ranking in rankings] == [2 * NUM_EACH] * 2
    assert rankings[0]["items"] == rankings[1]["items"]
    assert away == [503, 503, 503]
    assert (back, later) == ([200, 200], 201)
    # fsync is off in this test, but PostgreSQL wrote its pages to the system before it was stopped.
    assert last["last_seq"] == 2 * NUM_EACH + 1 == len(log)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
    assert stored == again


def test_hiding_reaches_the_other_service(server, tiny_model, settings):
    shared = replace(settings, shared=True)
    item = tiny_model.personaliser.items[0]

    async def talk(first_store, second_store):
        services = [make_service(one, tiny_model, shared) for one in (first_store, second_store)]
        async with asking(services[0]) as one, asking(services[1]) as two:

            async def ranked():
                answer = await two.get("/v1/users/eve/recommendations", params={"n": 100})
                return [row["item"] for row in answer.json()["items"]]

            whole = await ranked()
            assert (await one.put(f"/v1/items/{item}/hidden")).status_code == 200
            for _ in range(600):
                if item not in (left := await ranked()):
                    break
                await asyncio.sleep(0.1)
            return whole, left

    address = server.new_database("hidden")
    with open_store(address) as first_store, open_store(address) as second_store:
        whole, left = asyncio.run(talk(first_store, second_store))
    assert item in whole
    assert left == [one for one in whole if one != item]
