"""Prometheus' service discovery by HTTP."""

import json

import httpx
import pytest

from control.options import Options
from control.plane import Plane
from tests.control.app.control_process import workload

PATH = "/v1/prometheus/targets"


def prometheus(plane: Plane, transport: httpx.ASGITransport) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {plane.stored.prometheus_token}"}
    return httpx.AsyncClient(transport=transport, base_url="https://127.0.0.1:3", headers=headers)


async def test_workloads_the_control_plane_and_the_collector_are_found(
    plane: Plane, transport: httpx.ASGITransport, rest: httpx.AsyncClient, options: Options
) -> None:
    assert (await rest.post("/v1/workloads", json=workload("reviews-v1", 1))).status_code == 201
    (options.state / "collector.json").write_text(json.dumps({"health": "127.0.0.1:9", "node": "/metrics/node"}))
    async with prometheus(plane, transport) as client:
        answer = await client.get(PATH)
    assert answer.headers["content-type"] == "application/json"
    found = {group["labels"]["job"]: group for group in answer.json()}
    assert set(found) == {"remora-sidecar", "remora-control", "remora-collector", "node"}
    assert all(isinstance(value, str) for group in answer.json() for value in group["labels"].values())
    sidecar = found["remora-sidecar"]["labels"]
    assert (sidecar["workload"], sidecar["namespace"], sidecar["version"]) == ("reviews-v1", "default", "v1")
    assert found["remora-control"] == {
        "targets": ["127.0.0.1:3"],
        "labels": {
            "job": "remora-control", "workload": "control", "namespace": "remora-system", "__scheme__": "https",
        },
    }  # fmt: skip
    assert found["remora-collector"]["targets"] == ["127.0.0.1:9"]
    assert found["node"]["labels"]["__metrics_path__"] == "/metrics/node"


@pytest.mark.parametrize("text", ["", "[]", '{"forward": "a:1"}', "{" + " " * 100_000 + "}"])
async def test_a_collectors_file_that_is_none_is_left_out(text: str, rest: httpx.AsyncClient, options: Options) -> None:
    (options.state / "collector.json").write_text(text)
    jobs = {group["labels"]["job"] for group in (await rest.get(PATH)).json()}
    assert jobs == {"remora-control"}


async def test_prometheus_token_opens_the_list_of_targets_and_nothing_else(
    plane: Plane, transport: httpx.ASGITransport, options: Options
) -> None:
    assert (options.state / "prometheus.token").stat().st_mode & 0o777 == 0o600
    async with prometheus(plane, transport) as client:
        assert (await client.get(PATH)).status_code == 200
        assert (await client.post(PATH)).status_code == 401
        assert (await client.get("/v1/status")).status_code == 401
        assert (await client.get(PATH + "/")).status_code == 401
        assert (await client.post("/v1/tokens", json={"service_account": "x"})).status_code == 401
