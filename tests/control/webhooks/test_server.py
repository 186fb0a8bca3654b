"""The webhooks over HTTP: bounds, refusals, and answers that the API server can use."""

from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import httpx
import jsonpatch
import pytest
from prometheus_client import CollectorRegistry

from control.api.kinds import KINDS
from control.api.parse import parse
from control.api.source import SourceFile
from control.api.world import World
from control.injector.settings import InjectorSettings, NamespaceFacts
from control.webhooks.bodies import DEFAULT_LIMITS
from control.webhooks.inject import MAX_POD_REVIEW_BYTES, Injection, NamespaceUnknown
from control.webhooks.server import WebhookMetrics, Webhooks
from control.webhooks.validate import Validation
from mesh.clock import SystemClock
from sidecar.agent.app_probe_specs import parse_probes
from tests.control.webhooks.reviews import encoded, patch_of, pod, review, virtual_service

Json = dict[str, Any]


class Scene:
    def __init__(self) -> None:
        self.world = World()
        self.registry = CollectorRegistry()
        self.labels: dict[str, str] | None = {"remora.io/injection": "enabled"}
        self.settings: Callable[[], InjectorSettings] = InjectorSettings
        answers = {
            "/inject": Injection(lambda: self.settings(), self._namespace),
            "/validate": Validation(lambda: self.world),
        }
        transport = httpx.ASGITransport(Webhooks(answers, SystemClock(), WebhookMetrics(self.registry)))
        self.http = httpx.AsyncClient(transport=transport, base_url="https://remora")

    async def _namespace(self, name: str) -> NamespaceFacts:
        if self.labels is None:
            raise NamespaceUnknown("get namespaces default: Timeout")
        return NamespaceFacts(name, self.labels)

    async def ask(self, path: str, document: Any) -> Json:
        """The response of an answer with 200."""
        content = document if isinstance(document, bytes) else encoded(document)
        answer = await self.http.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["response"]["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
        response: Json = answer.json()["response"]
        return response

    async def refused(self, path: str, content: bytes, **headers: str) -> tuple[int, str]:
        headers.setdefault("content-type", "application/json")
        answer = await self.http.post(path, content=content, headers=headers)
        return answer.status_code, answer.json()["error"]

    def count(self, webhook: str, outcome: str) -> float:
        labels = {"webhook": webhook, "outcome": outcome}
        return self.registry.get_sample_value("remora_webhook_reviews_total", labels) or 0.0

    def store(self, *documents: Json) -> None:
        parsed = parse([SourceFile("stored", encoded(each).decode()) for each in documents])
        assert parsed.ok
        self.world = self.world.with_resources(parsed.resources)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.http.aclose()


async def test_a_pod_gets_a_patch_that_makes_it_a_meshed_one_and_then_an_empty_one(scene: Scene) -> None:
    response = await scene.ask("/inject", review(pod()))
    assert response["allowed"]
    after = jsonpatch.apply_patch(pod(), patch_of(response))
    assert "remora-proxy" in [each["name"] for each in after["spec"]["initContainers"]]
    again = await scene.ask("/inject", review(after))
    assert again["allowed"]
    assert "patch" not in again
    assert scene.count("inject", "injected") == 2


async def test_the_path_of_a_hook_is_drawn_for_each_pod(scene: Scene) -> None:
    hooked = pod()
    hooked["spec"]["containers"][0]["lifecycle"] = {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}}
    paths = set()
    for _ in range(2):
        after = jsonpatch.apply_patch(hooked, patch_of(await scene.ask("/inject", review(hooked))))
        path = after["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"]["path"]
        (proxy,) = (each for each in after["spec"]["initContainers"] if each["name"] == "remora-proxy")
        (handed,) = (each["value"] for each in proxy["env"] if each["name"] == "REMORA_APP_PROBES")
        assert [each.path for each in parse_probes(handed)] == [path]
        paths.add(path)
    assert len(paths) == 2


async def test_pods_elsewhere_are_left_alone(scene: Scene) -> None:
    scene.labels = {}
    response = await scene.ask("/inject", review(pod()))
    assert response["allowed"]
    assert "patch" not in response
    assert scene.count("inject", "skipped") == 1


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "CONNECT"])
async def test_only_creations_are_injected(scene: Scene, operation: str) -> None:
    response = await scene.ask("/inject", review(pod(), operation, before=pod()))
    assert response["allowed"]
    assert "patch" not in response


async def test_a_pod_of_five_megabytes_is_denied_by_name_and_with_what_to_do(scene: Scene) -> None:
    large = pod(annotations={"a": "x" * 5_000_000})
    response = await scene.ask("/inject", review(large))
    assert not response["allowed"]
    assert f"more than the {MAX_POD_REVIEW_BYTES:,}" in response["status"]["message"]
    assert 'sidecar.istio.io/inject: "false"' in response["status"]["message"]
    assert (await scene.ask("/inject", review(pod())))["allowed"]


async def test_hostile_annotations_never_become_syntax_of_the_patch(scene: Scene) -> None:
    hostile = '"}], "op": "remove", "path": "/spec"'
    for name in ("proxy.istio.io/config", "sidecar.istio.io/proxyCPU", "traffic.sidecar.istio.io/includeInboundPorts"):
        response = await scene.ask("/inject", review(pod(annotations={name: hostile})))
        assert not response["allowed"]
        assert name in response["status"]["message"]
    response = await scene.ask("/inject", review(pod(annotations={"~1a/b\n": hostile}, labels={"app": "x"})))
    after = jsonpatch.apply_patch(pod(annotations={"~1a/b\n": hostile}, labels={"app": "x"}), patch_of(response))
    assert after["metadata"]["annotations"]["~1a/b\n"] == hostile


async def test_a_namespace_that_nobody_knows_leaves_the_decision_to_the_failure_policy(scene: Scene) -> None:
    scene.labels = None
    status, said = await scene.refused("/inject", encoded(review(pod())))
    assert (status, said) == (503, "get namespaces default: Timeout")
    assert scene.count("inject", "failed") == 1


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/inject", b"{}", {}, 400),
        ("/validate", b"\xff", {}, 400),
        ("/inject", b"", {}, 400),
        ("/other", b"{}", {}, 404),
        ("/inject/../validate", b"{}", {}, 400),
        ("/inject", b"{}", {"content-type": "text/yaml"}, 415),
        ("/inject", b"{}", {"content-length": str(DEFAULT_LIMITS.max_bytes + 1)}, 413),
        ("/inject", b"{}", {"content-length": "-1"}, 413),
        ("/inject", b"{}", {"transfer-encoding": "chunked", "content-length": "2"}, 400),
    ],
)
async def test_what_is_no_review_is_refused_and_the_next_one_is_answered(
    scene: Scene, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    answered, said = await scene.refused(path, content, **headers)
    assert (answered, bool(said)) == (status, True)
    assert (await scene.ask("/inject", review(pod())))["allowed"]


async def test_other_methods_are_refused(scene: Scene) -> None:
    assert (await scene.http.get("/inject")).status_code == 405


async def test_a_mistake_of_ours_is_logged_and_does_not_end_the_server(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> NoReturn:
        raise ZeroDivisionError("the mistake")

    scene.settings = broken
    status, said = await scene.refused("/inject", encoded(review(pod())))
    scene.settings = InjectorSettings
    assert status == 500
    assert "the mistake" in caplog.text
    assert "the mistake" not in said
    assert (await scene.ask("/inject", review(pod())))["allowed"]


async def test_a_good_rule_is_allowed_and_a_bad_one_refused_with_every_path(scene: Scene) -> None:
    scene.store(service())
    assert (await scene.ask("/validate", review(virtual_service())))["allowed"]
    bad = virtual_service(http=[{"match": [{"uri": {"regex": "("}}], "retries": {"attempts": "many"}}], hosts=[])
    response = await scene.ask("/validate", review(bad))
    assert not response["allowed"]
    for path in ("spec.hosts", "spec.http[0].match[0].uri.regex", "spec.http[0].retries.attempts"):
        assert path in response["status"]["message"]
    assert "the object" not in response["status"]["message"], "a cluster has neither file nor line"


def service() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 80}]},
    }


async def test_what_is_missing_yet_is_a_warning(scene: Scene) -> None:
    route = [{"destination": {"host": "later", "subset": "v1"}}]
    response = await scene.ask("/validate", review(virtual_service(http=[{"route": route}])))
    assert response["allowed"]
    assert any("spec.http[0].route[0].destination.host" in each for each in response["warnings"])


async def test_a_rule_is_looked_at_beside_those_for_its_hosts_however_they_are_spelt(scene: Scene) -> None:
    others = [virtual_service(f"other-{each}", hosts=[f"host-{each}.example.com"]) for each in range(20)]
    scene.store(service(), *others, virtual_service("first", hosts=["reviews.default.svc.cluster.local"]))
    response = await scene.ask("/validate", review(virtual_service("second")))
    assert response["status"]["message"].count("has another rule") == 1
    assert "VirtualService default/first" in response["status"]["message"]
    elsewhere = virtual_service("second", hosts=["host-20.example.com"])
    assert (await scene.ask("/validate", review(elsewhere)))["allowed"]
    taken = virtual_service("second", hosts=["host-20.example.com", "host-7.example.com"])
    assert "VirtualService default/other-7" in (await scene.ask("/validate", review(taken)))["status"]["message"]


async def test_a_conflict_with_a_stored_rule_is_refused_and_an_update_of_itself_is_none(scene: Scene) -> None:
    scene.store(service(), virtual_service("first"))
    response = await scene.ask("/validate", review(virtual_service("second")))
    assert not response["allowed"]
    assert "has another rule" in response["status"]["message"]
    same = virtual_service("first")
    assert (await scene.ask("/validate", review(same, "UPDATE", before=same)))["allowed"]


async def test_a_stored_bad_rule_can_be_labelled_mended_and_deleted_but_not_made_bad_anew(scene: Scene) -> None:
    bad, good = virtual_service(hosts=[]), virtual_service()
    labelled = bad | {"metadata": bad["metadata"] | {"labels": {"a": "b"}}}
    response = await scene.ask("/validate", review(labelled, "UPDATE", before=bad))
    assert response["allowed"]
    assert any("spec.hosts" in each for each in response["warnings"])
    assert (await scene.ask("/validate", review(good, "UPDATE", before=bad)))["allowed"]
    assert (await scene.ask("/validate", review(None, "DELETE", before=bad)))["allowed"]
    other = virtual_service(hosts=[], http=[])
    assert not (await scene.ask("/validate", review(other, "UPDATE", before=bad)))["allowed"]


async def test_a_rule_of_another_revision_is_not_ours_to_judge(scene: Scene) -> None:
    theirs = virtual_service(hosts=[])
    theirs["metadata"]["labels"] = {"remora.io/rev": "canary"}
    assert (await scene.ask("/validate", review(theirs)))["allowed"]
    theirs["metadata"]["labels"] = {"remora.io/rev": "default"}
    assert not (await scene.ask("/validate", review(theirs)))["allowed"]


async def test_kinds_of_others_are_allowed_with_a_word(scene: Scene) -> None:
    filter_ = {
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "a", "namespace": "default"}, "spec": {},
    }  # fmt: skip
    response = await scene.ask("/validate", review(filter_))
    assert response["allowed"]
    assert "no kind that Remora knows" in response["warnings"][0]
    pretender = virtual_service() | {"apiVersion": "example.com/v1"}
    assert "no kind that Remora knows" in (await scene.ask("/validate", review(pretender)))["warnings"][0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if "/" in kind.api_versions[0]], ids=lambda k: k.name)
async def test_an_empty_spec_of_every_kind_is_judged(scene: Scene, kind: Any) -> None:
    document = {
        "apiVersion": kind.api_versions[-1], "kind": kind.name,
        "metadata": {"name": "a", "namespace": "default", "managedFields": [{}], "uid": "u", "generation": 1},
        "spec": {},
    }  # fmt: skip
    response = await scene.ask("/validate", review(document))
    message = response.get("status", {}).get("message", "")
    assert "metadata" not in message, "what a server adds is no mistake"
