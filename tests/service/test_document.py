"""The OpenAPI document, kept to under what schemathesis makes of it, over a real connection."""

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.service.talking import listening

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# 501 means that explanations are not served here; schemathesis counts every 5xx as an error of the server.
LEFT_OUT = {"explain"}


def test_responses_match_the_openapi_document(service):
    # 501 where no profiler is served, again; tests/service/test_entities_api.py serves one.
    assert keeps_to_its_document(service, lambda path: not path.startswith("/v1/entities")) >= 60


def keeps_to_its_document(service, chosen, *, num_examples=12):
    """Check the operations at the chosen paths and return how many requests were made."""
    with listening(service) as address:
        document = httpx.get(f"{address}/openapi.json").json()
        document["paths"] = {
            path: operations for path, operations in document["paths"].items() if chosen(path)
        }
        for methods in document["paths"].values():
            for operation in methods.values():
                parameters = operation.get("parameters", [])
                operation["parameters"] = [one for one in parameters if one["name"] not in LEFT_OUT]
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
