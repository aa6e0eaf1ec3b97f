"""Times of events in requests: seconds since 1970, or ISO 8601 with an offset."""

import pytest
from tests.service.talking import in_service


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2023-11-14T22:13:19Z", 1_699_999_999),
        ("2023-11-14T23:13:19+01:00", 1_699_999_999),
        ("2023-11-14T22:13:19.999Z", 1_699_999_999),
        ("20231114T221319Z", 1_699_999_999),
        ("1970-01-01T00:00:00-00:00", 0),
        (1_699_999_999, 1_699_999_999),
    ],
)
def test_time_may_be_written_as_iso_8601(service, personaliser, written, seconds):
    async def talk(client):
        body = {"events": [{"item": personaliser.items[0], "time_s": written}]}
        posted = await client.post("/v1/users/ada/events", json=body)
        return posted, await client.get("/v1/users/ada")

    posted, export = in_service(service, talk)
    assert posted.status_code == 201, posted.text
    assert [entry["body"]["time_s"] for entry in export.json()["log"]] == [seconds]


@pytest.mark.parametrize(
    "written",
    ["2023-11-14T22:13:19", "2023-11-14", "14.11.2023", "1699999999", "1969-12-31T23:59:59Z", "", 1.5],
)
def test_other_time_is_422(service, personaliser, written):
    body = {"events": [{"item": personaliser.items[0], "time_s": written}]}
    answer = in_service(service, lambda client: client.post("/v1/rank", json=body))
    assert (answer.status_code, answer.json()["field"]) == (422, "body.events.0.time_s")
