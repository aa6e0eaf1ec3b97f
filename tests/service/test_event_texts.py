"""What users write with events, over HTTP: stored as given, sent back, limited, and gone with the user."""

import httpx
import pytest
from tests.assembly.written import NUM_COMMON, items_of_taste, note, train_written
from tests.service.talking import in_service, items_of, listening, make_service, path, written

from warmprompt import load
from warmprompt.service.model.served_model import make_model
from warmprompt.types import MAX_TEXT

NOTE = "We saw quokkas ”twice”\n\x00 🦆"


def test_text_of_an_event_is_stored_and_exported(service, tiny_model):
    first, second = tiny_model.personaliser.items[:2]

    async def talk(client):
        events = [{"item": first, "text": NOTE}, {"item": second}]
        answer = await client.post(path("ada", "/events"), json={"events": events})
        return answer, await client.get(path("ada"))

    answer, export = in_service(service, talk)
    assert answer.status_code == 201
    bodies = [entry["body"] for entry in export.json()["log"]]
    assert bodies[0] == {"item": first, "rating": None, "time_s": None, "text": NOTE}
    assert bodies[1] == {"item": second, "rating": None, "time_s": None}


@pytest.mark.parametrize("character", ["x", "é", "🦆", "\x00"])
def test_longest_text_fits_whatever_its_characters(service, tiny_model, character):
    item = tiny_model.personaliser.items[0]
    body = {"events": [{"item": item, "text": character * MAX_TEXT}]}
    answer = in_service(service, lambda client: client.post(path("ada", "/events"), json=body))
    assert answer.status_code == 201


def test_half_a_character_is_refused(service, tiny_model):
    body = b'{"events": [{"item": "%s", "text": "\\ud83d"}]}' % str(tiny_model.personaliser.items[0]).encode()
    headers = {"Content-Type": "application/json"}
    answer = in_service(
        service, lambda client: client.post(path("ada", "/events"), content=body, headers=headers)
    )
    assert answer.status_code == 422
    assert service.store.head("ada") is None


def test_a_model_that_reads_no_texts_ranks_as_without(service, tiny_model):
    items = tiny_model.personaliser.items[:3]

    async def talk(client):
        plain = [{"item": item} for item in items]
        noted = [one | {"text": NOTE} for one in plain]
        return [await client.post("/v1/rank", json={"events": events}) for events in (plain, noted)]

    plain, noted = in_service(service, talk)
    assert noted.status_code == 200
    assert items_of(noted) == items_of(plain)


def test_deletion_leaves_no_byte_of_a_text(service, tiny_model, tmp_path):
    item = tiny_model.personaliser.items[0]

    async def talk(client):
        await client.post(path("ada", "/events"), json={"events": [{"item": item, "text": NOTE * 100}]})
        await client.get(path("ada", "/recommendations"))
        await written(service)
        before = any(b"quokkas" in file.read_bytes() for file in tmp_path.iterdir())
        return before, (await client.delete(path("ada"))).json()["scrubbed"]

    before, scrubbed = in_service(service, talk)
    assert before
    assert scrubbed
    service.store.close()
    assert not any(b"quokkas" in file.read_bytes() for file in tmp_path.iterdir())


def test_document_states_the_limit(service):
    with listening(service) as address:
        event = httpx.get(f"{address}/openapi.json").json()["components"]["schemas"]["EventIn"]
    (text,) = [one for one in event["properties"]["text"]["anyOf"] if one["type"] == "string"]
    assert text["maxLength"] == MAX_TEXT == 5000


@pytest.fixture(scope="module")
def reading(tmp_path_factory, text_home):
    """Return a model that reads what users write, in service."""
    folder = tmp_path_factory.mktemp("written") / "run"
    train_written(folder)
    return make_model(load(folder, clock=lambda: 1_700_000_000), room=8, largest_batch=8)


def test_texts_change_rankings_and_their_vectors_go_with_the_user(store, reading, settings):
    service = make_service(store, reading, settings)
    events = [{"item": 0, "text": note(2)}]

    async def talk(client):
        unread = await client.post("/v1/rank", json={"events": [{"item": 0}], "n": 10})
        await client.post(path("ada", "/events"), json={"events": events})
        ranking = await client.get(path("ada", "/recommendations?n=10"))
        kept = [text for text, _ in reading.personaliser.engine.models._vectors.items()]
        await client.delete(path("ada"))
        return unread, ranking, kept

    unread, ranking, kept = in_service(service, talk)
    read, blind = ({*items_of(one)} - {*range(NUM_COMMON)} for one in (ranking, unread))
    assert len(read) == 5
    assert read <= {*items_of_taste(2)}
    assert not blind <= {*items_of_taste(2)}
    assert kept == [note(2)]
    assert len(reading.personaliser.engine.models._vectors) == 0
