"""Events on pods."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from control.kubernetes.client import Cluster, KubeClient
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.node.events import MAX_WAITING, Events, Warned
from remora.node.metrics import Metrics
from tests.kubernetes.api_server import FakeApiServer

WEB = Warned("shop", "web", "0f3b1c9e-6a52-4d07-9c6e-3f1a2b4c5d6e", "CaptureFailed", "it did not work")


async def token() -> str:
    return "Bearer admin"


def lost(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("remora_node_events_lost_total")


async def test_an_event_is_on_the_pod_and_says_who_wrote_it(eventually: Any) -> None:
    registry = CollectorRegistry()
    async with FakeApiServer() as server, TaskScope() as scope:
        client = KubeClient(Cluster(server.url, None, token), SystemClock())
        events = Events(client, "node-1", SystemClock(), Metrics(registry))
        scope.spawn(events.run(), name="events")
        server.seed({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        for message in ("one", "x" * 5000):
            events.warn(Warned("shop", "web", WEB.uid, "CaptureFailed", message))
        await eventually(lambda: len(list(server.storage.all(("", "events"), "shop"))) == 2, "both are written")
        found = sorted((each.object for each in server.storage.all(("", "events"))), key=lambda each: each["message"])
        assert [len(each["message"]) for each in found] == [3, 1000]
        event = found[0]
        assert event["involvedObject"] == {
            "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": WEB.uid,
        }  # fmt: skip
        assert (event["type"], event["reason"], event["count"]) == ("Warning", "CaptureFailed", 1)
        assert event["source"] == {"component": "remora-node-agent", "host": "node-1"}
        assert lost(registry) == 0
        await client.close()


async def test_what_cannot_be_written_is_counted_and_said_once(
    eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    async with FakeApiServer() as server, TaskScope() as scope:
        server.access.forbidden.add(("create", "", "events"))
        client = KubeClient(Cluster(server.url, None, token), SystemClock())
        events = Events(client, "node-1", SystemClock(), Metrics(registry))
        for _ in range(MAX_WAITING + 5):
            events.warn(WEB)
        assert lost(registry) == 5, "no more wait than that"
        scope.spawn(events.run(), name="events")
        await eventually(lambda: lost(registry) == MAX_WAITING + 5, "all are counted")
        said = [each.getMessage() for each in caplog.records if each.name == "remora.node"]
        assert len(said) == 1
        assert 'grant verb "create" on resource "events"' in said[0]
        await client.close()
