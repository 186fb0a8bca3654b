"""Tables and OpenAPI: what kubectl reads, in the shape in which it reads them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from remora.install.crds.definitions import all_definitions
from tests.kubernetes.client import RULES, Client
from tests.kubernetes.columns import age, first
from tests.kubernetes.objects import namespace, pod, rule, service

TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
NOW = datetime(2026, 1, 10, tzinfo=UTC)


def seeded(call: Client) -> None:
    for each in all_definitions():
        call.server.seed(each)
    call.server.seed({
        **rule("VirtualService", "a", {"hosts": ["a", "b"]}),
        "status": {"conditions": [{"type": "Other", "status": "Unknown"}, {"type": "Accepted", "status": "True"}]},
    })  # fmt: skip


def shown(table: Any) -> list[dict[str, Any]]:
    names = [each["name"] for each in table["columnDefinitions"]]
    return [dict(zip(names, row["cells"], strict=True)) for row in table["rows"]]


async def test_a_rule_has_the_columns_of_its_definition(call: Client) -> None:
    seeded(call)
    for path in (RULES, f"{RULES}/a"):
        _, table = await call("GET", path, accept=TABLE)
        assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        (row,) = shown(table)
        assert row.pop("Age").endswith("s")
        assert row == {"Name": "a", "Gateways": None, "Hosts": '["a","b"]', "Accepted": "True"}
        assert table["columnDefinitions"][0]["format"] == "name"
        (included,) = (each["object"] for each in table["rows"])
        assert (included["kind"], included["metadata"]["name"]) == ("PartialObjectMetadata", "a")


async def test_what_a_table_includes_is_what_is_asked_for(call: Client) -> None:
    seeded(call)
    _, table = await call("GET", RULES, accept=TABLE, includeObject="None")
    assert table["rows"][0]["object"] is None
    _, table = await call("GET", RULES, accept=TABLE, includeObject="Object")
    assert table["rows"][0]["object"]["spec"] == {"hosts": ["a", "b"]}
    _, table = await call("GET", "/api/v1/namespaces", accept=TABLE, limit="1")
    assert (len(table["rows"]), bool(table["metadata"]["continue"])) == (1, True)


async def test_built_in_kinds_have_columns_of_their_own(call: Client) -> None:
    call.server.seed(pod("a", "10.0.0.1"))
    call.server.seed(service("web"))
    call.server.seed(namespace("shop"))
    (row,) = shown((await call("GET", "/api/v1/pods", accept=TABLE))[1])
    assert [row[name] for name in ("Name", "Ready", "Status", "Restarts", "IP")] == [
        "a",
        "0/1",
        "Running",
        0,
        "10.0.0.1",
    ]
    (row,) = shown((await call("GET", "/api/v1/services", accept=TABLE))[1])
    assert (row["Type"], row["Cluster-IP"], row["Port(s)"]) == ("ClusterIP", "10.96.0.10", "80/TCP")
    for kind in call.server.types:
        root = f"/apis/{kind.group}" if kind.group else "/api"
        status, table = await call("GET", f"{root}/{kind.versions[0]}/{kind.plural}", accept=TABLE)
        assert (status, table["columnDefinitions"][0]["name"]) == (200, "Name"), kind.plural


async def test_a_watch_tells_tables_of_one_row(call: Client) -> None:
    seeded(call)
    async with call.watch(RULES, accept=TABLE) as event:
        added = await event()
        assert (added["type"], [row["Name"] for row in shown(added["object"])]) == ("ADDED", ["a"])


async def test_an_answer_is_a_table_only_where_that_is_preferred_to_the_object(call: Client) -> None:
    call.server.seed(pod("a"))
    path = "/api/v1/pods"
    assert (await call("GET", path, accept=f"application/json,{TABLE}"))[1]["kind"] == "PodList"
    assert (await call("GET", path, accept="application/vnd.kubernetes.protobuf,*/*"))[1]["kind"] == "PodList"
    status, refused = await call("GET", path, accept="application/vnd.kubernetes.protobuf")
    assert (status, refused["reason"]) == (406, "NotAcceptable")


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2026-01-10T00:00:01Z", "0s"),
        ("2026-01-09T23:58:01Z", "119s"),
        ("2026-01-09T23:58:00Z", "2m"),
        ("2026-01-09T23:52:30Z", "7m30s"),
        ("2026-01-09T21:30:00Z", "150m"),
        ("2026-01-09T18:30:00Z", "5h30m"),
        ("2026-01-08T12:00:00Z", "36h"),
        ("2026-01-05T20:00:00Z", "4d4h"),
        ("2025-12-01T00:00:00Z", "40d"),
        ("yesterday", "<unknown>"),
    ],
)
def test_an_age_is_as_kubectl_shows_it(since: str, expected: str) -> None:
    assert age(since, NOW) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".a.b", 1),
        (".a.c", None),
        (".list[1].name", "y"),
        (".list[2]", None),
        ('.list[?(@.name=="y")].value', 2),
        ('.list[?(@.name=="z")].value', None),
        (".a.b.c", None),
        (".a[0]", None),
    ],
)
def test_a_path_leads_to_what_is_there(path: str, expected: Any) -> None:
    assert first({"a": {"b": 1}, "list": [{"name": "x", "value": 1}, {"name": "y", "value": 2}]}, path) == expected


def test_what_else_jsonpath_can_say_is_not_taken_for_nothing() -> None:
    with pytest.raises(ValueError, match=r"'\[\*\]' of the JSONPath"):
        first({"list": []}, ".list[*]")


async def test_openapi_has_a_document_for_every_group_and_every_reference_leads_somewhere(call: Client) -> None:
    seeded(call)
    _, root = await call("GET", "/openapi/v3")
    assert {"api/v1", "apis/apps/v1", "apis/networking.istio.io/v1"} <= root["paths"].keys()
    for place in root["paths"].values():
        status, document = await call("GET", place["serverRelativeURL"])
        assert status == 200
        schemas = document["components"]["schemas"]
        assert {f"#/components/schemas/{name}" for name in schemas} >= set(references(document))
        for schema in schemas.values():
            assert isinstance(schema.get("type", ""), str)
    assert (await call("GET", "/openapi/v3/apis/nobody/v1"))[0] == 404


async def test_openapi_tells_clients_that_the_server_validates_fields(call: Client) -> None:
    seeded(call)
    _, document = await call("GET", "/openapi/v3/apis/networking.istio.io/v1")
    patch = document["paths"][f"{RULES.replace('default', '{namespace}')}/{{name}}"]["patch"]
    assert "fieldValidation" in [each["name"] for each in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"]["kind"] == "VirtualService"
    spec = document["components"]["schemas"]["io.istio.networking.v1.VirtualService"]["properties"]["spec"]
    assert spec["properties"]["hosts"]["type"] == "array"


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for each in value.values() for found in references(each)]
