"""Applying, deleting, analyzing and listing rules: all or nothing, each problem with its place."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from control.plane import Plane
from tests.control.app.control_process import workload

RULE = """# keep me
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - timeout: 1s
    route: [{destination: {host: reviews}}]
"""
WRONG = RULE.replace("timeout: 1s", "timeuot: 1s")


async def call(rest: httpx.AsyncClient, what: str, *texts: str, **more: Any) -> httpx.Response:
    files = [{"name": f"f{number}.yaml", "text": text} for number, text in enumerate(texts)]
    return await rest.post(f"/v1/{what}", json={"files": files, **more})


@pytest.fixture(autouse=True)
async def a_service(rest: httpx.AsyncClient) -> None:
    assert (await rest.post("/v1/workloads", json=workload("reviews-v1"))).status_code == 201


async def stored(rest: httpx.AsyncClient, kind: str = "all") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await rest.get(f"/v1/resources/{kind}")).json()["resources"]
    return found


async def test_a_rule_is_created_then_unchanged_then_configured(rest: httpx.AsyncClient) -> None:
    first = (await call(rest, "apply", RULE)).json()
    assert first["changes"] == [
        {
            "action": "created",
            "kind": "VirtualService",
            "namespace": "default",
            "name": "reviews",
            "before": None,
            "after": RULE,
            "etag": "",
        }
    ]
    again = (await call(rest, "apply", RULE)).json()
    assert [change["action"] for change in again["changes"]] == ["unchanged"]
    assert again["version"] == first["version"]
    other = (await call(rest, "apply", RULE.replace("1s", "2s"))).json()
    assert [change["action"] for change in other["changes"]] == ["configured"]
    assert other["changes"][0]["before"] == RULE
    assert int(other["version"]) == int(first["version"]) + 1


async def test_a_dry_run_says_what_would_be_and_changes_nothing(rest: httpx.AsyncClient) -> None:
    answer = (await call(rest, "apply", RULE, dry_run=True)).json()
    assert [change["action"] for change in answer["changes"]] == ["created"]
    assert await stored(rest) == []


async def test_one_bad_file_keeps_all_of_the_call_out(rest: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await call(rest, "apply", RULE, WRONG.replace("name: reviews", "name: other"))
    assert answer.status_code == 422
    [violation] = [v for v in answer.json()["violations"] if v["severity"] == "error"]
    assert (violation["file"], violation["line"], violation["path"]) == ("f1.yaml", 8, "spec.http[0].timeuot")
    assert await stored(rest) == []
    assert not list((tmp_path / "state" / "rules").rglob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "is empty", id="an empty file"),
        pytest.param("kind: [", "", id="not YAML"),
        pytest.param("\tkind: x", "", id="tabs"),
        pytest.param(RULE.replace("host: reviews", "host: reviews, subset: v9"), "subset", id="a missing subset"),
        pytest.param(RULE + "---\n" + RULE, "twice", id="a duplicate"),
    ],
)
async def test_bad_input_is_refused_with_file_and_line(rest: httpx.AsyncClient, text: str, expected: str) -> None:
    answer = await call(rest, "apply", text)
    assert answer.status_code == 422
    errors = [v for v in answer.json()["violations"] if v["severity"] == "error"]
    assert errors
    assert all(v["file"] == "f0.yaml" and v["line"] > 0 for v in errors)
    assert any(expected in v["message"] for v in errors), errors
    assert await stored(rest) == []


async def test_deleting_by_name_and_by_file(rest: httpx.AsyncClient) -> None:
    await call(rest, "apply", RULE)
    by_name = {"resources": [{"kind": "vs", "namespace": "default", "name": "reviews"}]}
    dry = await rest.post("/v1/delete", json=by_name | {"dry_run": True})
    assert [change["action"] for change in dry.json()["changes"]] == ["deleted"]
    assert len(await stored(rest)) == 1
    assert (await rest.post("/v1/delete", json=by_name)).status_code == 200
    assert await stored(rest) == []
    gone = await rest.post("/v1/delete", json=by_name)
    assert gone.status_code == 404
    assert gone.json()["violations"][0]["message"] == "is not stored"
    await call(rest, "apply", RULE)
    assert (await call(rest, "delete", RULE)).status_code == 200
    assert await stored(rest) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(WRONG, id="an unknown field"),
        pytest.param("kind: VirtualService\nmetadata: {name: reviews}\n", id="the name alone"),
        pytest.param(RULE.replace("v1\n", "v1alpha9\n", 1), id="a version that is gone"),
        pytest.param(WRONG + "---\n" + RULE, id="the same one twice"),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {kind: VirtualService, metadata: {name: reviews}, spec: 7}\n",
            id="an item of a list",
        ),
    ],
)
async def test_what_is_not_valid_any_more_can_be_deleted_by_its_file(rest: httpx.AsyncClient, text: str) -> None:
    await call(rest, "apply", RULE)
    answer = await call(rest, "delete", text)
    assert answer.status_code == 200, answer.text
    assert [(change["action"], change["name"]) for change in answer.json()["changes"]] == [("deleted", "reviews")]
    assert await stored(rest) == []


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        pytest.param("kind: [", 1, "", "is not YAML", id="not YAML"),
        pytest.param("metadata: {name: reviews}", 1, "kind", "is required; one of", id="no kind"),
        pytest.param("kind: VirtualServcie\nmetadata: {name: a}", 1, "kind", "did you mean", id="misspelt"),
        pytest.param("kind: Gateway\nspec: {}", 1, "metadata.name", "write the name of the rule", id="no metadata"),
        pytest.param("kind: Gateway\nmetadata:\n  name: 7", 3, "metadata.name", "write the name", id="a number"),
        pytest.param(
            "kind: Gateway\nmetadata:\n  name: a\n  namespace: [b]", 4, "metadata.namespace", "leave it out",
            id="no namespace",
        ),
        pytest.param(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}", 1, "apiVersion",
            "Remora's Gateway is of networking.istio.io/v1", id="another group's",
        ),
    ],
)  # fmt: skip
async def test_a_file_that_names_no_rule_deletes_nothing(
    rest: httpx.AsyncClient, text: str, line: int, path: str, message: str
) -> None:
    await call(rest, "apply", RULE)
    answer = await call(rest, "delete", RULE, text)
    assert answer.status_code == 422
    (violation,) = answer.json()["violations"]
    assert (violation["file"], violation["line"], violation["path"]) == ("f1.yaml", line, path)
    assert message in violation["message"]
    assert len(await stored(rest)) == 1


async def test_deleting_what_others_refer_to_is_refused_whole(rest: httpx.AsyncClient) -> None:
    subsets = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"""
    using = RULE.replace("host: reviews", "host: reviews, subset: v1")
    assert (await call(rest, "apply", subsets, using)).status_code == 200
    answer = await call(rest, "delete", subsets)
    assert answer.status_code == 422
    assert len(await stored(rest)) == 2


async def test_analyze_finds_without_storing(rest: httpx.AsyncClient) -> None:
    answer = await call(rest, "analyze", WRONG)
    assert answer.status_code == 200
    assert answer.json()["violations"][0]["path"] == "spec.http[0].timeuot"
    assert (await rest.post("/v1/analyze", json={})).json() == {"violations": []}


async def test_concurrent_calls_are_taken_one_after_another(rest: httpx.AsyncClient) -> None:
    texts = [RULE.replace("1s", f"{n}s") for n in range(1, 11)]
    answers = await asyncio.gather(*(call(rest, "apply", text) for text in texts))
    versions = sorted(int(answer.json()["version"]) for answer in answers)
    assert versions == list(range(versions[0], versions[0] + 10))
    [rule] = await stored(rest)
    last = max(answers, key=lambda answer: int(answer.json()["version"])).json()
    assert rule["yaml"] == last["changes"][0]["after"]


async def test_what_is_not_as_it_was_read_is_neither_changed_nor_deleted(rest: httpx.AsyncClient) -> None:
    key = {"kind": "VirtualService", "namespace": "default", "name": "reviews"}
    absent = [{**key, "etag": ""}]
    await call(rest, "apply", RULE, expect=absent)
    answer = await call(rest, "apply", RULE.replace("1s", "9s"), expect=absent)
    assert answer.status_code == 409
    assert "somebody has made one of that name" in answer.json()["violations"][0]["message"]
    read = (await rest.get("/v1/resources/vs/default/reviews")).json()["etag"]
    theirs = (await call(rest, "apply", RULE.replace("1s", "2s"), expect=[{**key, "etag": read}])).json()
    assert theirs["changes"][0]["etag"] == read
    for dry_run in (True, False):
        answer = await call(rest, "apply", RULE, expect=[{**key, "etag": read}], dry_run=dry_run)
        assert answer.status_code == 409
        [violation] = answer.json()["violations"]
        assert (violation["name"], violation["severity"]) == ("reviews", "error")
        assert "somebody has changed it meanwhile" in violation["message"]
    body = {"resources": [key], "expect": [{**key, "etag": read}]}
    assert (await rest.post("/v1/delete", json=body)).status_code == 409
    assert [rule["yaml"] for rule in await stored(rest)] == [RULE.replace("1s", "2s")]
    now = (await rest.get("/v1/rules")).json()
    [rule] = now["rules"]
    assert now["console_edits_rules"] is True
    assert rule == {**key, "etag": rule["etag"], "created_at": rule["created_at"], "conditions": []}
    body["expect"][0]["etag"] = rule["etag"]
    assert (await rest.post("/v1/delete", json=body)).status_code == 200
    assert (await call(rest, "delete", RULE, expect=absent)).status_code == 400


@pytest.mark.parametrize("word", ["VirtualService", "virtualservices", "virtualservice", "vs", "VS", "all"])
async def test_kinds_are_listed_by_any_of_their_names(rest: httpx.AsyncClient, word: str) -> None:
    await call(rest, "apply", RULE)
    [found] = await stored(rest, word)
    assert (found["kind"], found["namespace"], found["name"]) == ("VirtualService", "default", "reviews")
    assert found["yaml"] == RULE
    assert found["document"]["spec"]["hosts"] == ["reviews"]
    assert found["created_at"] > 1_600_000_000


async def test_services_and_workloads_are_listed_too(rest: httpx.AsyncClient) -> None:
    [service] = await stored(rest, "svc")
    assert service["document"]["spec"]["ports"] == [{"name": "http", "port": 9080}]
    [workload_] = await stored(rest, "workloads")
    assert workload_["name"] == "reviews-v1"
    assert workload_["document"]["metadata"]["labels"]["version"] == "v1"
    assert workload_["yaml"].startswith("apiVersion: remora.io/v1\nkind: Workload\nmetadata:\n  name: reviews-v1\n")
    one = await rest.get("/v1/resources/workload/default/reviews-v1")
    assert one.json() == workload_


async def test_a_namespace_narrows_the_list(rest: httpx.AsyncClient) -> None:
    await call(rest, "apply", RULE)
    assert (await rest.get("/v1/resources/vs", params={"namespace": "other"})).json() == {"resources": []}


@pytest.mark.parametrize("path", ["/v1/resources/unicorns", "/v1/resources/vs/default/nobody", "/v1/nothing"])
async def test_what_does_not_exist_is_404(rest: httpx.AsyncClient, path: str) -> None:
    answer = await rest.get(path)
    assert answer.status_code == 404
    assert "error" in answer.json() or "detail" in answer.json()


async def test_a_full_disk_stores_nothing_and_says_so(rest: httpx.AsyncClient, plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "state" / "rules").rename(tmp_path / "gone")
    (tmp_path / "state" / "rules").write_text("in the way")
    answer = await call(rest, "apply", RULE)
    assert answer.status_code == 503
    assert "nothing was applied" in answer.json()["error"]
    (tmp_path / "state" / "rules").unlink()
    (tmp_path / "gone").rename(tmp_path / "state" / "rules")
    assert (await call(rest, "apply", RULE)).status_code == 200


async def test_a_workload_that_registers_again_as_what_it_was_is_not_planned_for_again(
    rest: httpx.AsyncClient, plane: Plane, eventually: Callable[..., Awaitable[None]]
) -> None:
    await rest.post("/v1/workloads", json=workload("reviews-v1"))
    await eventually(lambda: plane.publisher.plan.world is plane.publisher.world, "the workload is planned for")
    before = plane.publisher.plan
    spent = plane.metrics.push_time._sum.get()
    await rest.post("/v1/workloads", json=workload("reviews-v1"))
    await eventually(lambda: plane.metrics.push_time._sum.get() > spent, "the registration is looked at")
    assert plane.publisher.plan is before
    await rest.post("/v1/workloads", json=workload("ratings-v1", 2))
    await eventually(lambda: plane.publisher.plan is not before, "another workload is planned for")
