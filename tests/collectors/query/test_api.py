"""Jaeger's HTTP API over the embedded store: shapes, answers, refusals."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.query.api import QueryApi
from collectors.query.backend import Backend, BackendError
from collectors.query.parameters import MAX_LIMIT, MAX_LOOKBACK_US
from collectors.query.store_backend import StoreBackend
from collectors.query.telemetry import QueryTelemetry
from collectors.records import Batch
from tests.collectors.build import NOW, FakeClock, bookinfo, fill, span

NOW_US = int(NOW * 1e6)


def client_of(backend: Backend, **changes: Any) -> httpx.AsyncClient:
    arguments: dict[str, Any] = {"hosts": frozenset({"jaeger.test"}), **changes}
    api = QueryApi(backend, FakeClock(), QueryTelemetry(), **arguments)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://jaeger.test")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Over a store with 50 traces of Bookinfo and one span that says everything."""
    path = tmp_path / "store.sqlite"
    bookinfo(path)
    told = span(
        0x5000, 1, None, "told",
        start=NOW - 100,
        ms=12.5,
        kind="client",
        name="SELECT",
        error=True,
        status_message="gone",
        scope=("tracer", "1.2"),
        attributes={"s": "text", "b": True, "i": 5, "big": 2**60, "f": 0.25, "l": [1, "a"]},
        resource={"service.name": "told", "service.version": "v3"},
        events=[{"name": "exception", "time_ns": NOW_US * 1000 + 7_000, "attributes": {"exception.type": "KeyError"}}],
        links=[{"trace_id": "ab" * 16, "span_id": "cd" * 8, "trace_state": "", "attributes": {}}],
        flags=0x101,
    )  # fmt: skip
    fill(path, Batch(spans=[told]))
    backend = StoreBackend(path)
    async with client_of(backend) as client:
        yield client
    await backend.close()


async def data(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["data", "total", "limit", "offset", "errors"]
    assert (body["limit"], body["offset"], body["errors"]) == (0, 0, None)
    return body["data"]


async def search(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    found = await data(client, "/api/traces", start=NOW_US - 3600 * 1_000_000, end=NOW_US, **params)
    assert isinstance(found, list)
    return found


async def test_services_and_operations_are_listed_and_counted(client: httpx.AsyncClient) -> None:
    body = (await client.get("/api/services")).json()
    assert body == {
        "data": ["productpage", "ratings", "reviews", "told"],
        "total": 4,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }
    assert await data(client, "/api/services/told/operations") == ["SELECT"]
    assert await data(client, "/api/operations", service="told") == [{"name": "SELECT", "spanKind": "client"}]
    assert await data(client, "/api/operations", service="told", spanKind="server") == []
    assert await data(client, "/api/services/nobody/operations") == []


async def test_a_trace_has_the_shape_of_jaeger_s_answer(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/api/traces/{0x5000:032x}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "data": [
            {
                "traceID": f"{0x5000:016x}",
                "spans": [
                    {
                        "traceID": f"{0x5000:016x}",
                        "spanID": f"{1:016x}",
                        "flags": 1,
                        "operationName": "SELECT",
                        "references": [{"refType": "FOLLOWS_FROM", "traceID": "ab" * 16, "spanID": "cd" * 8}],
                        "startTime": NOW_US - 100_000_000,
                        "duration": 12_500,
                        "tags": [
                            {"key": "otel.scope.name", "type": "string", "value": "tracer"},
                            {"key": "otel.scope.version", "type": "string", "value": "1.2"},
                            {"key": "s", "type": "string", "value": "text"},
                            {"key": "b", "type": "bool", "value": True},
                            {"key": "i", "type": "int64", "value": 5},
                            {"key": "big", "type": "int64", "value": str(2**60)},
                            {"key": "f", "type": "float64", "value": 0.25},
                            {"key": "l", "type": "string", "value": '[1,"a"]'},
                            {"key": "span.kind", "type": "string", "value": "client"},
                            {"key": "otel.status_code", "type": "string", "value": "ERROR"},
                            {"key": "error", "type": "bool", "value": True},
                            {"key": "otel.status_description", "type": "string", "value": "gone"},
                        ],
                        "logs": [
                            {
                                "timestamp": NOW_US + 7,
                                "fields": [
                                    {"key": "event", "type": "string", "value": "exception"},
                                    {"key": "exception.type", "type": "string", "value": "KeyError"},
                                ],
                            }
                        ],
                        "processID": "p1",
                        "warnings": None,
                    }
                ],
                "processes": {
                    "p1": {
                        "serviceName": "told",
                        "tags": [{"key": "service.version", "type": "string", "value": "v3"}],
                    }
                },
                "warnings": None,
            }
        ],
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }


async def test_a_trace_of_several_services_shares_a_table_of_processes(client: httpx.AsyncClient) -> None:
    (trace,) = await data(client, "/api/traces/1")
    assert [one["processID"] for one in trace["spans"]] == ["p1", "p2", "p3"]
    assert {name: process["serviceName"] for name, process in trace["processes"].items()} == {
        "p1": "productpage",
        "p2": "reviews",
        "p3": "ratings",
    }
    parent = {"refType": "CHILD_OF", "traceID": trace["traceID"], "spanID": f"{1:016x}"}
    assert trace["spans"][1]["references"] == [parent]


async def test_a_search_finds_the_newest_first_and_as_many_as_wanted(client: httpx.AsyncClient) -> None:
    found = await search(client, service="reviews", limit=3)
    assert [int(trace["traceID"], 16) for trace in found] == [50, 49, 48]
    assert all(len(trace["spans"]) == 3 for trace in found)
    assert len(await search(client, service="reviews")) == 50


@pytest.mark.parametrize(
    ("params", "count"),
    [
        pytest.param({"service": "ratings", "tags": '{"error":"true"}'}, 5, id="tags as JSON, of the status"),
        pytest.param({"service": "ratings", "tag": "error:true"}, 5, id="a tag as key:value"),
        pytest.param({"service": "ratings", "tag": ["error:true", "span.kind:server"]}, 5, id="two tags"),
        pytest.param({"service": "ratings", "tag": ["error:true", "span.kind:client"]}, 0, id="one that is not there"),
        pytest.param({"service": "told", "tag": "service.version:v3"}, 1, id="a process' tag"),
        pytest.param({"service": "told", "tag": "exception.type:KeyError"}, 1, id="a log's field"),
        pytest.param({"service": "told", "tag": "i:5"}, 1, id="a number"),
        pytest.param({"service": "told", "operation": "SELECT"}, 1, id="an operation"),
        pytest.param({"service": "told", "operation": "INSERT"}, 0, id="another operation"),
        pytest.param({"service": "told", "minDuration": "12ms"}, 1, id="long enough"),
        pytest.param({"service": "told", "minDuration": "12.6ms"}, 0, id="too short"),
        pytest.param({"service": "told", "minDuration": "12500us", "maxDuration": "1h2m"}, 1, id="between"),
        pytest.param({"service": "told", "maxDuration": "12ms"}, 0, id="too long"),
        pytest.param({"service": "nobody"}, 0, id="an unknown service"),
        pytest.param({"service": "told", "lookback": "2d", "maxDuration": "", "tags": "{}"}, 1, id="as the UI asks"),
    ],
)
async def test_a_search_narrows_by_what_it_says(client: httpx.AsyncClient, params: dict[str, Any], count: int) -> None:
    assert len(await search(client, **params)) == count


async def test_a_search_has_both_ends_and_defaults_to_two_days(client: httpx.AsyncClient) -> None:
    at = NOW_US - 100_000_000
    assert len(await data(client, "/api/traces", service="told", start=at, end=at)) == 1
    assert await data(client, "/api/traces", service="told", start=at + 1, end=NOW_US) == []
    assert len(await data(client, "/api/traces", service="told")) == 1


async def test_traces_by_ids_come_with_the_missing_ones_named(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/traces", params={"traceID": ["1", "fff1", f"{2:032x}"]})).json()
    assert [trace["traceID"] for trace in answer["data"]] == [f"{1:016x}", f"{2:016x}"]
    assert answer["errors"] == [{"msg": "trace not found", "traceID": f"{0xFFF1:016x}"}]


async def test_dependencies_are_counted_in_their_window_and_by_service(client: httpx.AsyncClient) -> None:
    window = {"endTs": NOW_US // 1000, "lookback": 3_600_000}
    assert await data(client, "/api/dependencies", **window) == [
        {"parent": "productpage", "child": "reviews", "callCount": 50},
        {"parent": "reviews", "child": "ratings", "callCount": 50},
    ]
    assert len(await data(client, "/api/dependencies", service="ratings", **window)) == 1
    assert await data(client, "/api/dependencies", endTs=NOW_US // 1000 - 60_000, lookback=1000) == []


async def test_pretty_print_is_the_same_in_more_lines(client: httpx.AsyncClient) -> None:
    plain, pretty = (await client.get("/api/services")).text, (await client.get("/api/services?prettyPrint=true")).text
    assert json.loads(plain) == json.loads(pretty)
    assert "\n" not in plain
    assert '\n    "data"' in pretty


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/traces", 400, "parameter 'service' is required"),
        ("/api/operations", 400, "parameter 'service' is required"),
        ("/api/traces?service=a&start=x", 400, "unable to parse param 'start'"),
        ("/api/traces?service=a&end=99999999999999999999", 400, "unable to parse param 'end'"),
        ("/api/traces?service=a&start=9000000000000000000", 400, "out of range"),
        ("/api/traces?service=a&minDuration=5", 400, "unable to parse param 'minDuration'"),
        ("/api/traces?service=a&minDuration=5s&maxDuration=1s", 400, "'maxDuration' should be greater"),
        ("/api/traces?service=a&limit=many", 400, "unable to parse param 'limit'"),
        (f"/api/traces?service=a&limit={MAX_LIMIT + 1}", 400, f"at most {MAX_LIMIT}"),
        (f"/api/traces?service=a&start=0&end={MAX_LOOKBACK_US + 1}", 400, "31 days"),
        ("/api/traces?service=a&start=2&end=1", 400, "Start Time Minimum is above Maximum"),
        ("/api/traces?service=a&tag=nocolon", 400, "malformed 'tag' parameter, expecting key:value"),
        ("/api/traces?service=a&tags=[]", 400, "malformed 'tags' parameter"),
        ("/api/traces?service=a&tags={", 400, "malformed 'tags' parameter"),
        ("/api/traces?traceID=xyz", 400, "cannot parse traceID param"),
        ("/api/traces/" + "a" * 33, 400, "cannot parse traceID param"),
        ("/api/traces/abc", 404, "trace not found"),
        ("/api/dependencies?endTs=now", 400, "unable to parse param 'endTs'"),
        ("/api/dependencies?lookback=99999999999", 400, "'lookback' is to be"),
        ("/api/metrics/latencies", 501, "metrics querying is currently disabled"),
        ("/api/traces?service=a" + "&x=1" * 300, 400, "the query cannot be read"),
        ("/api/traces?service=" + "a" * 20_000, 414, "bytes"),
    ],
)  # fmt: skip
async def test_a_mistake_is_answered_as_jaeger_does(
    client: httpx.AsyncClient, path: str, status: int, message: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    body = answer.json()
    assert (body["data"], body["errors"][0]["code"]) == (None, status)
    assert message in body["errors"][0]["msg"]


async def test_other_paths_and_methods_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/elsewhere")).text == "404 page not found\n"
    assert (await client.get("/api/traces/../../etc/passwd")).status_code == 404
    answer = await client.post("/api/services", content=b"x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_names_of_services_may_be_hostile(tmp_path: Path) -> None:
    name = "a/b?c <script>\u2028\udcff".encode("utf-8", "replace").decode()
    path = tmp_path / "store.sqlite"
    fill(path, Batch(spans=[span(1, 1, None, name)]))
    backend = StoreBackend(path)
    async with client_of(backend) as client:
        assert await data(client, "/api/services") == [name]
        escaped = "".join(f"%{byte:02x}" for byte in name.encode())
        (operation,) = await data(client, f"/api/services/{escaped}/operations")
        assert operation.startswith(name)
    await backend.close()


async def test_who_asks_by_another_name_is_refused(client: httpx.AsyncClient) -> None:
    """A web page whose name was made to resolve to this machine must not read traces."""
    answer = await client.get("/api/services", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["data"]) == (403, None)


async def test_with_a_token_only_who_shows_it_is_answered(tmp_path: Path) -> None:
    tokens = ["first"]
    backend = StoreBackend(tmp_path / "none.sqlite")
    async with client_of(backend, hosts=frozenset(), token=lambda: tokens[-1]) as client:
        for header, status in ((None, 401), ("Bearer wrong", 401), ("first", 401), ("Bearer first", 200)):
            headers = {} if header is None else {"authorization": header}
            answer = await client.get("/api/services", headers=headers)
            assert answer.status_code == status
        tokens.append("second")
        assert (await client.get("/api/services", headers={"authorization": "Bearer first"})).status_code == 401
    assert answer.headers["content-type"] == "application/json"


async def test_before_anything_was_collected_everything_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    backend = StoreBackend(path)
    async with client_of(backend) as client:
        assert await data(client, "/api/services") == []
        assert await search(client, service="reviews") == []
        bookinfo(path)
        assert len(await data(client, "/api/services")) == 3
    await backend.close()


async def test_a_store_that_cannot_answer_is_an_error_of_the_server() -> None:
    class Broken(StoreBackend):
        async def services(self) -> list[str]:
            raise BackendError("stopped after 10 s: ask for less")

    async with client_of(Broken(Path("/nowhere"))) as client:
        answer = await client.get("/api/services")
    assert answer.status_code == 500
    assert answer.json()["errors"] == [{"code": 500, "msg": "stopped after 10 s: ask for less"}]
