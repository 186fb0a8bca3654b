"""The cluster's World: rules and pods as they are, never half of them; what is wrong is said where people look."""

import asyncio
import logging
import textwrap
from collections.abc import Awaitable, Callable

import pytest

from control.api import Key, Resource
from control.api.parse import parse
from control.api.source import SourceFile
from control.stores.errors import NothingApplied
from tests.control.stores.kubernetes.conftest import Follow
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, namespace, pod, rule, service

Eventually = Callable[..., Awaitable[None]]

GOOD = {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]}
BETTER = {"hosts": ["web"], "http": [{"timeout": "3s", "route": [{"destination": {"host": "web"}}]}]}
BAD = {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}, "weight": "much"}]}]}
WEB = Key("VirtualService", "default", "web")


def virtual_service(spec: Object, **more: object) -> Object:
    return rule("VirtualService", "web", spec, **more)


def web(count: int = 1) -> list[Object]:
    pods = [pod(f"web-{index}", f"10.0.0.{index}", labels={"app": "web"}) for index in range(1, count + 1)]
    ends = [endpoint(f"10.0.0.{index}", f"web-{index}") for index in range(1, count + 1)]
    return [service("web"), endpoint_slice("web-1", "web", *ends), *pods]


def conditions(server: FakeApiServer, name: str = "web") -> dict[str, tuple[str, str, str]]:
    """Type to status, reason and message."""
    found = server.get("networking.istio.io/v1", "VirtualService", name, "default").get("status", {})
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in found.get("conditions", ())}


def document(spec: Object, name: str = "web") -> Resource:
    text = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {spec}"
    (resource,) = parse([SourceFile("x.yaml", text)]).resources
    return resource


async def test_the_first_world_is_the_whole_cluster(server: FakeApiServer, follow: Follow) -> None:
    for each in [*web(5), virtual_service(GOOD)]:
        server.seed(each)
    async with follow() as made:
        assert len(made.worlds) <= 1
        world = made.world
        assert set(world.services) == {("default", "web")}
        assert len(world.workloads) == 5
        assert set(world.resources) == {WEB}
        assert world.resources[WEB].text.startswith("apiVersion: networking.istio.io/v1\nkind: VirtualService\n")
        assert world.resources[WEB].created_at > 1_700_000_000
        assert not made.store.missing()


async def test_half_a_cluster_is_no_world(server: FakeApiServer, follow: Follow, eventually: Eventually) -> None:
    server.access.forbidden.add(("list", "discovery.k8s.io", "endpointslices"))
    for each in web(2):
        server.seed(each)
    async with follow(wait=False) as made:
        await eventually(lambda: len(made.store.missing()) == 1, "all but one are known")
        assert made.store.missing() == ["endpointslices.discovery.k8s.io (forbidden)"]
        assert not made.worlds
        server.access.forbidden.clear()
        await eventually(lambda: made.worlds, "there is a World")
        assert len(made.worlds[0].services["default", "web"].ports[0].members) == 2


async def test_nodes_may_be_forbidden(server: FakeApiServer, follow: Follow) -> None:
    server.access.forbidden.add(("list", "", "nodes"))
    async with follow() as made:
        assert made.world.generation


async def test_a_change_of_one_pod_is_one_world_with_all_else_the_same(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    for each in [*web(3), service("api"), virtual_service(GOOD)]:
        server.seed(each)
    async with follow(leads=False) as made:
        before = made.world
        server.seed(pod("web-2", "10.0.0.2", labels={"app": "web", "version": "v2"}))
        await eventually(lambda: made.world is not before, "it is seen")
        after = made.world
        assert after.generation == before.generation + 1
        assert after.services["default", "api"] is before.services["default", "api"]
        assert after.services["default", "web"] is not before.services["default", "web"]
        assert after.workloads["default", "web-1"] is before.workloads["default", "web-1"]
        assert after.resources is before.resources
        assert made.worlds[-1] is after


async def test_what_concerns_nobody_makes_no_world(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    for each in web(1):
        server.seed(each)
    async with follow(leads=False) as made:
        before = made.world
        server.seed(pod("web-1", "10.0.0.1", labels={"app": "web"}, ready=False))
        server.seed(namespace("later"))
        await eventually(lambda: "later" in made.store.namespace_names(), "the later change is seen")
        assert made.world is before


async def test_a_bad_rule_is_said_in_its_status_and_never_displaces_the_last_good_one(
    server: FakeApiServer, follow: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    server.seed(virtual_service(GOOD))
    async with follow() as made:
        await eventually(lambda: conditions(server).get("Accepted") == ("True", "Accepted", ""), "it is accepted")
        server.seed({**virtual_service(BAD), "status": server.get(*ADDRESS).get("status")})
        await eventually(lambda: conditions(server)["Accepted"][0] == "False", "it is refused")
        _, reason, message = conditions(server)["Accepted"]
        assert reason == "Invalid"
        assert message.startswith("spec.http[0].route[0].weight: ")
        assert message.endswith("; the last good version goes on")
        assert made.world.resources[WEB].spec.http[0].route[0].destination.host == "web"
        assert made.metric("remora_rules_refused") == 1
        said = [each for each in caplog.messages if "spec.http[0].route[0].weight" in each]
        assert len(said) == 1
        assert said[0].startswith("VirtualService default/web: ")
        server.seed({**virtual_service(BETTER), "status": server.get(*ADDRESS).get("status")})
        await eventually(lambda: conditions(server)["Accepted"][0] == "True", "it is accepted again")
        await eventually(lambda: made.world.resources[WEB].spec.http[0].timeout == 3, "it holds")
        assert made.metric("remora_rules_refused") == 0


ADDRESS = ("networking.istio.io/v1", "VirtualService", "web", "default")


async def test_a_status_names_the_generation_and_keeps_others_conditions_and_the_time_of_its_change(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    foreign = {"type": "Programmed", "status": "True"}
    old = {"type": "Accepted", "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z", "observedGeneration": 0}
    server.seed({**virtual_service(GOOD), "status": {"conditions": [foreign, old]}})
    async with follow():
        await eventually(lambda: conditions_of(server)["Accepted"]["observedGeneration"] == 1, "it is written")
        assert conditions_of(server)["Accepted"]["lastTransitionTime"] == "2001-01-01T00:00:00Z", "still True"
        assert conditions_of(server)["Programmed"] == foreign
        managers = server.get(*ADDRESS)["metadata"]["managedFields"]
        assert [(each["manager"], each["operation"], each["subresource"]) for each in managers] == [
            ("remora", "Apply", "status")
        ]


def conditions_of(server: FakeApiServer) -> dict[str, Object]:
    return {each["type"]: each for each in server.get(*ADDRESS)["status"]["conditions"]}


async def test_only_the_leader_writes_and_a_new_leader_writes_what_is_missing(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    server.seed(virtual_service(BAD))
    async with follow(leads=False) as made:
        await eventually(lambda: made.metric("remora_status_writes_waiting") == 1, "it would be written")
        await asyncio.sleep(0)
        assert not any(asked.verb == "patch" for asked in server.asked)
        made.leads = True
        await eventually(lambda: conditions(server), "it is written")


async def test_a_status_that_may_not_be_written_is_said_once_and_rules_hold_all_the_same(
    server: FakeApiServer, follow: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    server.access.forbidden.add(("patch", "networking.istio.io", "virtualservices/status"))
    server.seed(virtual_service(GOOD))
    server.seed(rule("VirtualService", "other", GOOD))
    async with follow() as made:
        await eventually(lambda: made.metric("remora_status_writes_total", outcome="forbidden") == 2, "it is refused")
        assert len(made.world.resources) == 2
        (said,) = [each for each in caplog.messages if "forbidden" in each]
        assert 'grant verb "patch" on resource "virtualservices/status" of API group "networking.istio.io"' in said


async def test_what_analysis_finds_is_in_the_status_until_it_is_so_no_more(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    server.seed(virtual_service(GOOD))
    async with follow():
        await eventually(lambda: conditions(server).get("Analyzed", ("",))[0] == "False", "the host is missing")
        assert "web" in conditions(server)["Analyzed"][2]
        for each in web(1):
            server.seed(each)
        await eventually(lambda: conditions(server)["Analyzed"][:2] == ("True", "NoFindings"), "the host is there")


async def test_rules_of_another_revision_are_not_ours(server: FakeApiServer, follow: Follow) -> None:
    server.seed(virtual_service(GOOD, labels={"remora.io/rev": "canary"}))
    async with follow() as made:
        assert not made.world.resources
    async with follow(revision="canary") as made:
        assert set(made.world.resources) == {WEB}


async def test_what_only_a_server_and_its_controllers_say_is_no_part_of_a_rule(
    server: FakeApiServer, follow: Follow
) -> None:
    made_by = [{"apiVersion": "v1", "kind": "App", "name": "a", "uid": "1"}]
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    server.seed(virtual_service(GOOD, ownerReferences=made_by, finalizers=["a/b"], annotations=applied))
    async with follow() as made:
        assert made.world.resources[WEB].document["metadata"] == {"name": "web", "namespace": "default"}


async def test_an_outage_leaves_the_world_as_it_is_and_afterwards_it_goes_on(
    server: FakeApiServer, follow: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for each in [*web(2), virtual_service(GOOD)]:
        server.seed(each)
    async with follow(leads=False) as made:
        before = made.world
        await eventually(lambda: server.faults.watching == 12, "everything is watched")
        await server.stop()
        await eventually(lambda: any("does not answer as it should" in each for each in caplog.messages), "it is said")
        server.remove("v1", "Pod", "web-2", "default")
        server.compact()
        assert made.world is before
        await server.start()
        await eventually(lambda: len(made.world.workloads) == 1, "it goes on")
        await eventually(lambda: any("answers again" in each for each in caplog.messages), "it is said")
        assert sum("does not answer as it should" in each for each in caplog.messages) == 1
        assert made.world.services["default", "web"].members == (made.world.workloads["default", "web-1"],)


async def test_namespaces_are_known_with_their_labels_until_they_are_being_deleted(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    server.seed(namespace("shop", mesh="yes"))
    async with follow() as made:
        heard: list[bool] = []
        made.store.on_namespaces_changed.append(lambda: heard.append(True))
        facts = made.store.namespace("shop")
        assert facts is not None
        assert facts.labels["mesh"] == "yes"
        going = namespace("shop")
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        server.seed(going)
        await eventually(lambda: made.store.namespace("shop") is None, "it is no place for pods any more")
        assert heard


async def test_what_is_applied_through_us_is_written_by_our_manager_and_in_the_world_when_that_returns(
    server: FakeApiServer, follow: Follow
) -> None:
    async with follow() as made:
        world = await asyncio.to_thread(made.store.change, [document(GOOD)], [])
        assert set(world.resources) == {WEB}
        stored = server.get(*ADDRESS)
        assert stored["spec"] == GOOD
        assert stored["metadata"]["managedFields"][0]["manager"] == "remora-cli"
        world = await asyncio.to_thread(made.store.change, [document(BETTER)], [])
        assert world.resources[WEB].spec.http[0].timeout == 3
        world = await asyncio.to_thread(made.store.change, [], [WEB])
        assert not world.resources


async def test_what_the_document_leaves_out_goes_whoever_wrote_it(server: FakeApiServer, follow: Follow) -> None:
    server.seed(rule("DestinationRule", "web", {"host": "web", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}))
    text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec: {host: web}"
    resources = parse([SourceFile("x.yaml", text)]).resources
    async with follow() as made:
        world = await asyncio.to_thread(made.store.change, resources, [])
        assert world.resources[resources[0].key].document["spec"] == {"host": "web"}


async def test_nothing_of_a_call_is_written_if_one_of_it_would_be_refused(
    server: FakeApiServer, follow: Follow
) -> None:
    async with follow() as made:
        server.faults.refuse(
            403, which=lambda asked: asked.verb == "patch" and asked.name == "other", reason="Forbidden"
        )
        with pytest.raises(NothingApplied, match="nothing was applied: patch virtualservices"):
            await asyncio.to_thread(made.store.change, [document(GOOD), document(GOOD, "other")], [])
        assert not made.world.resources
        with pytest.raises(NothingApplied, match="the workloads of a cluster are its pods"):
            made.store.unregister(("default", "web"))


async def test_a_rule_that_says_the_same_in_other_words_is_kept_as_it_is(server: FakeApiServer, follow: Follow) -> None:
    server.seed(virtual_service(GOOD))
    async with follow(leads=False) as made:
        text = """
            # why this is so
            kind: VirtualService
            apiVersion: networking.istio.io/v1
            metadata: {name: web}
            spec: {http: [{route: [{destination: {host: web}}]}], hosts: [web]}
        """
        (resource,) = parse([SourceFile("x.yaml", textwrap.dedent(text))]).resources
        kept, stored = made.store.as_kept(resource), made.world.resources[WEB]
        assert (kept, kept.text) == (stored, stored.text)
