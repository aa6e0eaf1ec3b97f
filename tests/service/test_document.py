"""The OpenAPI document, kept to under what schemathesis makes of it, over a real connection."""

import importlib
import shutil
import subprocess
import sys

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.service.talking import in_service, listening, make_service

from warmprompt.service.explaining import explainer_factory
from warmprompt.service.model.served_model import make_model

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_responses_match_the_openapi_document(store, personaliser, settings):
    model = make_model(personaliser, room=8, largest_batch=8, make_explainer=explainer_factory())
    service = make_service(store, model, settings)
    # 501 where no profiler is served, which schemathesis counts as an error of the server;
    # tests/service/test_entities_api.py serves one.
    assert keeps_to_its_document(service, lambda path: not path.startswith("/v1/entities")) >= 60


def test_errors_have_one_schema_by_name(service):
    document = in_service(service, lambda client: client.get("/openapi.json")).json()
    assert set(document["components"]["schemas"]["ProblemOut"]["required"]) >= {"field", "value", "remedy"}
    refused = [
        content["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if status >= "400"
        for media_type, content in response["content"].items()
        if media_type == "application/problem+json"
    ]
    assert len(refused) > 50
    assert refused == [{"$ref": "#/components/schemas/ProblemOut"}] * len(refused)


def test_operation_ids_are_method_names(service):
    document = in_service(service, lambda client: client.get("/openapi.json")).json()
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert sorted(names) == [
        "add_entity_events",
        "add_events",
        "add_items",
        "ask",
        "delete_entity",
        "delete_user",
        "estimate_entity_risk",
        "explain_in_words",
        "export_entity",
        "export_user",
        "find_items",
        "get_entity_risk",
        "get_metrics",
        "hide_item",
        "is_alive",
        "is_ready",
        "rank",
        "recommend",
        "reload_model",
        "scrub_database",
        "show_item",
        "show_model",
        "similar_items",
    ]


@pytest.mark.skipif(shutil.which("openapi-python-client") is None, reason="no openapi-python-client")
def test_generated_client_gets_a_ranking_and_a_problem(service, personaliser, tmp_path, monkeypatch):
    """The generator's client: methods by operation id, answers and errors as typed objects."""
    monkeypatch.syspath_prepend(tmp_path / "made")
    (tmp_path / "config.yml").write_text("post_hooks: []\npackage_name_override: made_client\n")
    command = ["openapi-python-client", "generate", "--path", "document.json", "--config", "config.yml"]
    with listening(service) as address:
        (tmp_path / "document.json").write_text(httpx.get(f"{address}/openapi.json").text)
        done = subprocess.run(
            [*command, "--output-path", "made"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "WARNING" not in done.stdout + done.stderr
        add_events = importlib.import_module("made_client.api.users.add_events")
        recommend = importlib.import_module("made_client.api.users.recommend")
        similar_items = importlib.import_module("made_client.api.items.similar_items")
        models = importlib.import_module("made_client.models")
        events = models.EventsIn(events=[models.EventIn(item=personaliser.items[0], rating=5.0)])
        with importlib.import_module("made_client").Client(base_url=address) as client:
            recorded = add_events.sync("ada", client=client, body=events)
            ranking = recommend.sync("ada", client=client, n=3)
            refused = similar_items.sync("nothing", client=client)
    assert (recorded.last_seq, ranking.seq, len(ranking.items)) == (1, 1, 3)
    assert isinstance(refused, models.ProblemOut)
    assert refused.field == "item id"
    for name in [one for one in sys.modules if one.partition(".")[0] == "made_client"]:
        del sys.modules[name]


def keeps_to_its_document(service, chosen, *, num_examples=12):
    """Check the operations at the chosen paths and return how many requests were made."""
    with listening(service) as address:
        document = httpx.get(f"{address}/openapi.json").json()
        document["paths"] = {
            path: operations for path, operations in document["paths"].items() if chosen(path)
        }
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=address)
        asked = []

        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=num_examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def keeps_to_it(case):
                asked.append(case)
                case.call_and_validate(checks=CHECKS)

            keeps_to_it()
        return len(asked)
