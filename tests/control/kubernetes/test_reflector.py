"""A reflector has what the cluster has: through deletions unseen, compactions, outages, refusals and garbage."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from control.kubernetes.outages import State
from control.kubernetes.reflector import Pace, Reflector
from control.kubernetes.resources import ApiResource
from mesh.lifecycle import TaskScope
from tests.control.kubernetes.reflecting import QUICK, around, client_of
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import crd, pod, rule

PODS = ApiResource("", "v1", "pods")
RULES = [ApiResource("networking.istio.io", version, "virtualservices") for version in ("v1", "v1beta1")]
Eventually = Callable[..., Awaitable[None]]


class Watching:
    """A reflector of pods' labels, and the changes that it told of."""

    def __init__(self, reflector: Reflector[Any], changes: list[tuple[str, Any, Any]]) -> None:
        self.reflector = reflector
        self.changes = changes

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.reflector.items)


def labels(found: Mapping[str, Any]) -> dict[str, str]:
    return dict(found["metadata"]["labels"])


@contextlib.asynccontextmanager
async def watching(
    server: FakeApiServer, resources: list[ApiResource] | None = None, pace: Pace = QUICK, **more: Any
) -> AsyncIterator[Watching]:
    changes: list[tuple[str, Any, Any]] = []
    async with client_of(server) as client, TaskScope() as scope:
        decode = more.pop("decode", labels)
        reflector: Reflector[Any] = Reflector(
            around(client, pace),
            resources or [PODS],
            decode,
            lambda name, before, after: changes.append((name[1], before, after)),
            **more,
        )
        scope.spawn(reflector.run(), name="reflector")
        yield Watching(reflector, changes)


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        for index in range(7):
            server.seed(pod(f"p{index}"))
        yield server


async def synced(watching: Watching) -> None:
    async with asyncio.timeout(5):
        await watching.reflector.synced.wait()


def lists(server: FakeApiServer, resource: str = "pods") -> int:
    return sum(asked.verb == "list" and asked.resource == resource for asked in server.asked)


async def test_everything_is_listed_in_pages_and_then_followed(server: FakeApiServer, eventually: Eventually) -> None:
    async with watching(server) as seen:
        await synced(seen)
        assert seen.names == [f"p{index}" for index in range(7)]
        assert lists(server) == 3
        server.seed(pod("p1", labels={"a": "1"}))
        server.seed(pod("new"))
        server.remove("v1", "Pod", "p2", "default")
        await eventually(lambda: seen.changes[-1][0] == "p2", "the last change is seen")
        assert seen.changes[7:] == [("p1", {}, {"a": "1"}), ("new", None, {}), ("p2", {}, None)]
        assert lists(server) == 3


async def test_what_changes_nothing_that_is_kept_is_no_change(server: FakeApiServer, eventually: Eventually) -> None:
    async with watching(server) as seen:
        await synced(seen)
        server.seed(pod("p1", node="elsewhere"))
        server.seed(pod("new"))
        await eventually(lambda: seen.changes[-1][0] == "new", "the later change is seen")
        assert [name for name, *_ in seen.changes[7:]] == ["new"]


async def test_a_watch_that_is_cut_goes_on_from_where_it_was(server: FakeApiServer, eventually: Eventually) -> None:
    async with watching(server) as seen:
        await synced(seen)
        await eventually(lambda: server.faults.watching == 1, "it watches")
        server.faults.cut_watches()
        server.seed(pod("new"))
        server.remove("v1", "Pod", "p3", "default")
        await eventually(lambda: "new" in seen.names and "p3" not in seen.names, "what happened meanwhile is known")
        assert lists(server) == 3, "nothing was listed again"


@pytest.mark.parametrize("by_status", [False, True], ids=["told by an ERROR event", "told by the status 410"])
async def test_a_version_too_old_is_listed_again_and_finds_what_was_deleted(
    server: FakeApiServer, eventually: Eventually, by_status: bool
) -> None:
    server.faults.gone_by_status = by_status
    async with watching(server) as seen:
        await synced(seen)
        await eventually(lambda: server.faults.watching == 1, "it watches")
        hold = server.faults.hold(lambda asked: asked.verb == "watch")
        server.faults.cut_watches()
        await eventually(lambda: hold.waiting == 1, "it asks to watch again")
        server.remove("v1", "Pod", "p3", "default")
        server.seed(pod("p4", labels={"a": "1"}))
        server.compact()
        hold.release()
        await eventually(lambda: len(seen.changes) == 9, "what happened unseen is known")
        assert sorted(seen.changes[7:], key=lambda change: change[0]) == [("p3", {}, None), ("p4", {}, {"a": "1"})]
        assert lists(server) == 5


async def test_pages_that_expire_while_they_are_read_are_read_at_once_instead(server: FakeApiServer) -> None:
    holds = [server.faults.hold(lambda asked: asked.verb == "list")]
    async with watching(server) as seen:
        async with asyncio.timeout(5):
            while not holds[0].waiting:
                await asyncio.sleep(0)
            later = server.faults.hold(lambda asked: asked.verb == "list" and lists(server) == 2)
            holds[0].release()
            while not later.waiting:
                await asyncio.sleep(0.001)
            server.compact()
            later.release()
        await synced(seen)
        assert len(seen.names) == 7
        assert lists(server) == 3, "a page, the refused one, and all at once"


async def test_bookmarks_carry_a_quiet_watch_over_a_compaction(server: FakeApiServer, eventually: Eventually) -> None:
    async with watching(server) as seen:
        await synced(seen)
        await eventually(lambda: server.faults.watching == 1, "it watches")
        server.seed({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})
        server.compact()
        server.watches.bookmark()
        events = seen.reflector._around.metrics.events.labels("", "pods", "BOOKMARK")
        await eventually(lambda: events._value.get() == 1, "the bookmark came")
        server.faults.cut_watches()
        server.seed(pod("new"))
        await eventually(lambda: "new" in seen.names, "it goes on from the bookmark")
        assert lists(server) == 3


async def test_a_watch_that_says_nothing_for_long_is_begun_again(server: FakeApiServer, eventually: Eventually) -> None:
    async with watching(server, pace=replace(QUICK, idle_s=0.2)) as seen:
        await synced(seen)
        server.faults.watches_are_silent = True
        server.faults.cut_watches()
        await eventually(lambda: server.faults.watching == 1, "it watches again")
        server.seed(pod("new"))
        server.faults.watches_are_silent = False
        # The silent watch of before was not told of the change; only a new one is.
        await eventually(lambda: "new" in seen.names, "it does not trust the silence")
        assert seen.reflector.state is State.WATCHING
        assert lists(server) == 3


@pytest.mark.parametrize(
    "garbage",
    [b"<html>\n", b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n', b'{"type":1}\n'],
    ids=["a page of a proxy", "an error of the server", "no event"],
)
async def test_garbage_on_a_watch_leads_to_a_list(
    server: FakeApiServer, eventually: Eventually, garbage: bytes
) -> None:
    server.faults.garbage.append(garbage)
    async with watching(server) as seen:
        await synced(seen)
        await eventually(lambda: lists(server) == 6, "it lists again")
        server.seed(pod("new"))
        await eventually(lambda: "new" in seen.names, "it watches again")


async def test_an_object_that_is_not_as_described_keeps_its_last_known_state(
    server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(server) as seen:
        await synced(seen)
        for name in ("p1", "odd", "p2"):
            server.seed({**pod(name), "metadata": {"name": name, "labels": 5}})
        server.seed(pod("new"))
        await eventually(lambda: "new" in seen.names, "the others are followed")
        assert seen.reflector.items["default", "p1"] == {}
        assert "odd" not in seen.names
        said = [each.message for each in caplog.records if "not as Kubernetes describes" in each.message]
        assert len(said) == 1
        assert "default/p1" in said[0]
        assert seen.reflector._around.metrics.undecodable.labels("", "pods")._value.get() == 3


async def test_a_forbidden_resource_is_said_once_with_the_permission_and_found_once_it_is_granted(
    server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    server.access.forbidden.add(("list", "", "pods"))
    caplog.set_level(logging.INFO)
    async with watching(server) as seen:
        await eventually(lambda: lists(server) > 3, "it keeps trying")
        assert seen.reflector.state is State.FORBIDDEN
        assert not seen.reflector.synced.is_set()
        said = [each.message for each in caplog.records if "forbidden" in each.message]
        assert said == [
            'list pods is forbidden; grant verb "list" on resource "pods" of API group "" in the whole cluster; '
            "until then the 0 known pods go on"
        ]
        server.access.forbidden.clear()
        await synced(seen)
        assert len(seen.names) == 7
        assert "pods can be read now" in caplog.messages


async def test_a_permission_that_is_taken_away_leaves_what_is_known(
    server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(server) as seen:
        await synced(seen)
        await eventually(lambda: server.faults.watching == 1, "it watches")
        server.access.forbidden.add(("watch", "", "pods"))
        server.faults.cut_watches()
        await eventually(lambda: seen.reflector.state is State.FORBIDDEN, "it is forbidden")
        assert len(seen.names) == 7
        assert any("until then the 7 known pods go on" in each for each in caplog.messages)


async def test_what_is_not_required_counts_as_synced_while_it_is_forbidden(server: FakeApiServer) -> None:
    server.access.forbidden.add(("list", "", "pods"))
    async with watching(server, required=False) as seen:
        await synced(seen)
        assert not seen.names


async def test_a_server_that_is_away_is_said_once_and_its_return_too(
    server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with watching(server) as seen:
        await synced(seen)
        await eventually(lambda: server.faults.watching == 1, "it watches")
        await server.stop()
        server.seed(pod("new"))
        await eventually(lambda: seen.reflector.state is State.AWAY, "it notices")
        assert len(seen.names) == 7, "what is known goes on"
        await server.start()
        await eventually(lambda: "new" in seen.names, "it goes on")
        assert seen.reflector.state is State.WATCHING
        assert sum("does not answer as it should" in each for each in caplog.messages) == 1
        assert sum("answers again" in each for each in caplog.messages) == 1


async def test_a_server_that_asks_for_patience_gets_it(server: FakeApiServer, eventually: Eventually) -> None:
    server.faults.refuse(429, retry_after_s=1)
    async with watching(server) as seen:
        await eventually(lambda: lists(server) == 1, "it asked")
        began = asyncio.get_running_loop().time()
        await synced(seen)
        assert asyncio.get_running_loop().time() - began > 0.9


async def test_a_resource_without_its_definition_is_missing_until_it_is_installed_in_any_version(
    server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with watching(server, RULES, decode=lambda found: found["spec"]) as seen:
        await synced(seen)
        assert seen.reflector.state is State.MISSING
        server.seed(crd("VirtualService", "virtualservices", "networking.istio.io", ("v1beta1",)))
        server.seed({**rule("VirtualService", "a", {"hosts": ["a"]}), "apiVersion": "networking.istio.io/v1beta1"})
        await eventually(lambda: seen.names == ["a"], "it is found")
        assert seen.reflector.resource.version == "v1beta1"
        assert sum("once their CRD is installed" in each for each in caplog.messages) == 1
        assert sum("are installed now" in each for each in caplog.messages) == 1


async def test_a_definition_that_goes_takes_its_objects_with_it(server: FakeApiServer, eventually: Eventually) -> None:
    server.seed(crd("VirtualService", "virtualservices", "networking.istio.io", ("v1",)))
    server.seed(rule("VirtualService", "a", {"hosts": ["a"]}))
    async with watching(server, RULES, decode=lambda found: found["spec"]) as seen:
        await eventually(lambda: seen.names == ["a"], "it is found")
        server.types.forget("networking.istio.io", "virtualservices")
        server.faults.cut_watches()
        await eventually(lambda: not seen.names, "it is gone")
        assert seen.reflector.state is State.MISSING
