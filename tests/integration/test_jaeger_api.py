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
            answer = jaeger.get(f"/api/traces/{trace_id}")
            spans = answer.json()["data"][0]["spans"] if answer.status_code == 200 else []
            return spans if len(spans) >= 8 else None

        spans = until(whole, "the whole trace is stored")
        names = {process["serviceName"] for process in data(f"/api/traces/{trace_id}")[0]["processes"].values()}
        assert {name.split(".")[0] for name in names} >= {"productpage", "details", "reviews"}
        assert names <= set(data("/api/services"))
        product = next(name for name in names if name.startswith("productpage"))
        operations = data(f"/api/services/{product}/operations")
        assert {span["operationName"] for span in spans} & set(operations)
        found = data("/api/traces", service=product, tags='{"http.request.method":"GET"}', limit=200, lookback="1h")
        assert trace_id in {trace["traceID"] for trace in found}
        children = {link["child"].split(".")[0] for link in data("/api/dependencies") if link["parent"] == product}
        assert {"details", "reviews"} <= children
