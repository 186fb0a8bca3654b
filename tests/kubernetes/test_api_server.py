"""The fake API server keeps to the real one's answers where clients tell them apart."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.kubernetes.client import DEFINITIONS, PODS, RULES, Client
from tests.kubernetes.objects import crd, endpoint, endpoint_slice, namespace, pod, rule, service


async def test_an_object_is_created_read_updated_and_deleted(call: Client) -> None:
    status, made = await call("POST", PODS, pod("a", "10.0.0.1"))
    assert (status, "status" in made) == (201, False), "status is written by its subresource alone"
    assert (await call("POST", PODS, pod("a")))[1]["reason"] == "AlreadyExists"
    made["metadata"]["labels"] = {"app": "a"}
    status, updated = await call("PUT", f"{PODS}/a", made)
    assert (status, updated["metadata"]["labels"]) == (200, {"app": "a"})
    status, refused = await call("PUT", f"{PODS}/a", made)
    assert (status, refused["reason"]) == (409, "Conflict"), "it has an older resourceVersion"
    updated["status"] = {"phase": "Running"}
    assert (await call("PUT", f"{PODS}/a/status", updated))[1]["status"] == {"phase": "Running"}
    assert (await call("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0}))[0] == 200
    assert (await call("GET", f"{PODS}/a"))[1]["message"] == 'pods "a" not found'


async def test_a_pod_on_a_node_is_deleted_in_two_steps(call: Client) -> None:
    call.server.seed(pod("a", "10.0.0.1"))
    assert (await call("DELETE", f"{PODS}/a"))[1]["metadata"]["deletionTimestamp"]
    assert (await call("GET", f"{PODS}/a"))[0] == 200
    await call("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
    assert (await call("GET", f"{PODS}/a"))[0] == 404


async def test_a_namespace_that_is_not_there_takes_nothing_and_one_that_goes_takes_all_with_it(call: Client) -> None:
    path = "/api/v1/namespaces/shop/services"
    assert (await call("POST", path, service("a", namespace="shop")))[1]["message"] == 'namespaces "shop" not found'
    await call("POST", "/api/v1/namespaces", namespace("shop"))
    await call("POST", path, service("a", namespace="shop"))
    await call("DELETE", "/api/v1/namespaces/shop")
    assert (await call("GET", f"{path}/a"))[0] == 404


async def test_a_list_comes_in_pages_of_one_moment_and_a_compaction_ends_them(call: Client) -> None:
    for index in range(5):
        call.server.seed(pod(f"p{index}", labels={"n": str(index)}))
    _, first = await call("GET", "/api/v1/pods", limit="2")
    call.server.seed(pod("later"))
    _, second = await call("GET", "/api/v1/pods", limit="2", **{"continue": first["metadata"]["continue"]})
    names = [each["metadata"]["name"] for each in first["items"] + second["items"]]
    assert (names, first["metadata"]["resourceVersion"]) == (
        ["p0", "p1", "p2", "p3"],
        second["metadata"]["resourceVersion"],
    )
    call.server.compact()
    status, gone = await call("GET", "/api/v1/pods", limit="2", **{"continue": second["metadata"]["continue"]})
    assert (status, gone["reason"]) == (410, "Expired")
    _, chosen = await call("GET", "/api/v1/pods", labelSelector="n in (1,3),n!=3", fieldSelector="metadata.name=p1")
    assert [each["metadata"]["name"] for each in chosen["items"]] == ["p1"]


async def test_a_watch_goes_on_from_a_version_and_sees_what_its_selector_chooses(call: Client) -> None:
    call.server.seed(pod("a", labels={"app": "x"}))
    _, listed = await call("GET", "/api/v1/pods")
    version = listed["metadata"]["resourceVersion"]
    call.server.seed(pod("b"))
    query = {"resourceVersion": version, "allowWatchBookmarks": "true", "labelSelector": "app=x"}
    async with call.watch("/api/v1/pods", **query) as event:
        call.server.seed(pod("a", labels={"app": "y"}))
        assert (await event())["type"] == "DELETED", "it is chosen no more"
        call.server.seed(pod("a", labels={"app": "x"}))
        added = await event()
        assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "a")
        call.server.watches.bookmark()
        bookmark = await event()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["metadata"]["resourceVersion"] == str(call.server.storage.version)
        call.server.remove("v1", "Pod", "a", "default")
        assert (await event())["type"] == "DELETED"


async def test_a_watch_from_before_a_compaction_is_told_that_it_is_gone(call: Client) -> None:
    _, listed = await call("GET", "/api/v1/pods")
    call.server.compact()
    async with call.watch("/api/v1/pods", resourceVersion=listed["metadata"]["resourceVersion"]) as event:
        error = await event()
        assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await event() is None


async def test_a_compaction_does_not_disturb_a_watch_under_way(call: Client) -> None:
    async with call.watch("/api/v1/pods", resourceVersion=str(call.server.storage.version)) as event:
        call.server.seed(pod("a"))
        assert (await event())["type"] == "ADDED"
        call.server.compact()
        call.server.seed(pod("b"))
        assert (await event())["object"]["metadata"]["name"] == "b"


async def test_a_server_that_restarts_has_its_data_and_its_port(call: Client) -> None:
    call.server.seed(pod("a"))
    before = call.server.url
    async with call.watch("/api/v1/pods") as event:
        assert (await event())["type"] == "ADDED"
        await call.server.stop()
        with pytest.raises(aiohttp.ClientError):
            await event()
    with pytest.raises(aiohttp.ClientError):
        await call("GET", f"{PODS}/a")
    await call.server.start()
    assert call.server.url == before
    assert (await call("GET", f"{PODS}/a"))[0] == 200


async def test_a_custom_resource_is_there_once_its_definition_is_and_is_held_to_its_schema(call: Client) -> None:
    good = rule("VirtualService", "a", {"hosts": ["a"]})
    assert (await call("POST", RULES, good))[1]["message"] == "the server could not find the requested resource"
    schema = {
        "type": "object",
        "required": ["hosts"],
        "properties": {
            "hosts": {"type": "array", "items": {"type": "string"}},
            "weight": {"type": "integer", "default": 1},
        },
    }
    definition = crd("VirtualService", "virtualservices", "networking.istio.io", ("v1", "v1beta1"), schema=schema)
    assert (await call("POST", DEFINITIONS, definition))[0] == 201
    assert (await call("POST", RULES, good))[1]["spec"] == {"hosts": ["a"], "weight": 1}
    status, refused = await call("POST", RULES, rule("VirtualService", "b", {"hosts": "b"}))
    assert (status, refused["details"]["causes"][0]["field"]) == (422, "spec.hosts")
    unknown = rule("VirtualService", "b", {"hosts": ["b"], "host": 1})
    status, refused = await call("POST", RULES, unknown, fieldValidation="Strict")
    assert (status, 'unknown field "spec.host"' in refused["message"]) == (400, True)
    older = await call("GET", RULES.replace("/v1/", "/v1beta1/") + "/a")
    assert older[1]["apiVersion"] == "networking.istio.io/v1beta1"
    loose = {"type": "object", "properties": {"hosts": {}}}
    bad = crd("Other", "others", "networking.istio.io", schema=loose)
    assert (await call("POST", DEFINITIONS, bad))[0] == 422, "its schema is not structural"


async def test_patches_of_each_form_change_what_they_name(call: Client) -> None:
    call.server.seed(pod("a", labels={"app": "a", "old": "1"}))
    path = f"{PODS}/a"
    json = [
        {"op": "test", "path": "/metadata/labels/app", "value": "a"},
        {"op": "remove", "path": "/metadata/labels/old"},
    ]
    assert (await call("PATCH", path, json, form="application/json-patch+json"))[1]["metadata"]["labels"] == {
        "app": "a"
    }
    json[0]["value"] = "b"
    assert (await call("PATCH", path, json, form="application/json-patch+json"))[0] == 422
    merge = {"metadata": {"labels": {"app": None, "new": "1"}}}
    merged = await call("PATCH", path, merge, form="application/merge-patch+json")
    assert merged[1]["metadata"]["labels"] == {"new": "1"}
    strategic = {"spec": {"containers": [{"name": "app", "image": "app:2"}, {"name": "more"}]}}
    _, patched = await call("PATCH", path, strategic, form="application/strategic-merge-patch+json")
    assert [each.get("image") for each in patched["spec"]["containers"]] == ["app:2", None]
    assert patched["spec"]["containers"][0]["ports"], "what the patch does not name stays"
    reordered = {"spec": {"$setElementOrder/containers": [{"name": "more"}, {"name": "app"}]}}
    _, patched = await call("PATCH", path, reordered, form="application/strategic-merge-patch+json")
    assert [each["name"] for each in patched["spec"]["containers"]] == ["more", "app"]
    assert (await call("PATCH", path, {}, form="application/json"))[0] == 415
    assert (await call("POST", PODS, {}, form="application/vnd.kubernetes.protobuf"))[0] == 415


async def test_server_side_apply_keeps_managers_apart(call: Client) -> None:
    call.server.seed(crd("VirtualService", "virtualservices", "networking.istio.io"))
    form = "application/apply-patch+yaml"
    wanted = rule("VirtualService", "a", {"hosts": ["a"], "http": [{"name": "one"}]})
    assert (await call("PATCH", f"{RULES}/a", wanted, form=form, fieldManager="cli"))[0] == 201
    status = {**rule("VirtualService", "a", {}), "status": {"conditions": [{"type": "Accepted", "status": "True"}]}}
    del status["spec"]
    assert (await call("PATCH", f"{RULES}/a/status", status, form=form, fieldManager="remora"))[0] == 200
    other = {**status, "status": {"conditions": [{"type": "Synced", "status": "True"}]}}
    _, both = await call("PATCH", f"{RULES}/a/status", other, form=form, fieldManager="other")
    assert [each["type"] for each in both["status"]["conditions"]] == ["Accepted", "Synced"]
    taken = rule("VirtualService", "a", {"hosts": ["b"]})
    code, refused = await call("PATCH", f"{RULES}/a", taken, form=form, fieldManager="other")
    assert (code, refused["details"]["causes"][0]["field"]) == (409, ".spec.hosts")
    assert 'conflict with "cli"' in refused["message"]
    _, forced = await call("PATCH", f"{RULES}/a", taken, form=form, fieldManager="other", force="true")
    assert forced["spec"]["hosts"] == ["b"]
    given_up = rule("VirtualService", "a", {})
    _, left = await call("PATCH", f"{RULES}/a", given_up, form=form, fieldManager="cli")
    assert left["spec"] == {"hosts": ["b"]}, "hosts are another's now; http was given up by its only manager"
    assert left["status"] == both["status"]


async def test_who_may_not_is_told_which_permission_is_missing_and_use_is_recorded(call: Client) -> None:
    access = call.server.access
    token = access.issue("remora-system", "remora-control")
    user = "system:serviceaccount:remora-system:remora-control"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "remora-control", "namespace": "remora-system"}],
    }
    call.server.seed(role)
    call.server.seed(binding)
    access.rbac = True
    assert (await call("GET", "/api/v1/pods", token=token))[0] == 200
    status, refused = await call("GET", "/api/v1/secrets", token=token)
    assert (status, refused["reason"]) == (403, "Forbidden")
    assert refused["message"] == (
        f'secrets is forbidden: User "{user}" cannot list resource "secrets" in API group "" at the cluster scope'
    )
    assert call.server.used_by(user) == {("list", "", "pods"), ("list", "", "secrets")}
    assert (await call("GET", "/api/v1/pods", token="nobody"))[0] == 401
    review = {"spec": {"user": user, "resourceAttributes": {"verb": "list", "resource": "pods"}}}
    _, answer = await call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"] == {"allowed": True}


async def test_a_token_review_knows_tokens_and_their_audiences(call: Client) -> None:
    token = call.server.access.issue("default", "web", ["remora-ca"], pod="web-1", pod_uid="u1")
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    _, good = await call("POST", path, {"spec": {"token": token, "audiences": ["remora-ca"]}})
    assert good["status"]["user"]["username"] == "system:serviceaccount:default:web"
    assert good["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["web-1"]
    for spec in ({"token": token}, {"token": "no"}, {}):
        _, bad = await call("POST", path, {"spec": spec})
        assert bad["status"]["authenticated"] is False
    assert (await call("GET", "/api/v1/pods", token=token))[0] == 401, "its audience is another's"


async def test_requests_are_held_and_refused_on_demand(call: Client, eventually: Any) -> None:
    call.server.faults.refuse(429, retry_after_s=7, which=lambda asked: asked.resource == "pods")
    status, refused = await call("GET", "/api/v1/pods")
    assert (status, refused["details"]["retryAfterSeconds"]) == (429, 7)
    assert (await call("GET", "/api/v1/pods"))[0] == 200
    call.server.seed(endpoint_slice("a-1", "a", endpoint("10.0.0.1")))
    hold = call.server.faults.hold(lambda asked: asked.verb == "list")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(call("GET", "/apis/discovery.k8s.io/v1/endpointslices"))
        await eventually(lambda: hold.waiting == 1, "the list waits")
        hold.release()
    assert len(waiting.result()[1]["items"]) == 1
