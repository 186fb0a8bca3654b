"""Jaeger's API of the laptop's mesh: what Grafana's Jaeger data source asks."""

import secrets
from typing import Any

import httpx
import pytest

from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh


def test_a_page_load_is_found_by_service_by_tag_and_by_id_and_the_services_depend_on_each_other(
    mesh: RunningMesh,
) -> None:
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    assert mesh.get("/productpage", headers=headers).status_code == 200
    with httpx.Client(base_url=mesh.info["jaeger"], timeout=30) as jaeger:

        def data(path: str, **params: Any) -> Any:
            return jaeger.get(path, params=params).raise_for_status().json()["data"]

        def whole() -> Any:
            """The trace, once it has spans of what every page asks for (only some reviews ask for ratings)."""
            answer = jaeger.get(f"/api/traces/{trace_id}")
            if answer.status_code != 200:
                return None
            (trace,) = answer.json()["data"]
            called = {process["serviceName"].split(".")[0] for process in trace["processes"].values()}
            return trace if called >= {"productpage", "details", "reviews"} else None

        trace = until(whole, "the whole trace is stored")
        spans = trace["spans"]
        names = {process["serviceName"] for process in trace["processes"].values()}
        assert names <= set(data("/api/services"))
        product = next(name for name in names if name.startswith("productpage"))
        operations = data(f"/api/services/{product}/operations")
        assert {span["operationName"] for span in spans} & set(operations)
        found = data("/api/traces", service=product, tags='{"http.request.method":"GET"}', limit=200, lookback="1h")
        assert trace_id in {trace["traceID"] for trace in found}

        def depend() -> bool:
            links = data("/api/dependencies")
            return {"details", "reviews"} <= {
                link["child"].split(".")[0] for link in links if link["parent"] == product
            }

        until(depend, "the product page depends on details and reviews")
