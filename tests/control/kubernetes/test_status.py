"""Status conditions written back: the newest wish is what stands there in the end, whatever comes first."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from control.kubernetes.client import KubeClient
from control.kubernetes.resources import ApiResource
from control.kubernetes.status import UNREPORTED, Condition, Reported, StatusWriter, Subject, reported
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from tests.kubernetes.access import Asked
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import our_crds

Eventually = Callable[..., Awaitable[None]]

GATEWAY = Subject(ApiResource("networking.istio.io", "v1", "gateways"), "Gateway", "default", "edge")
GOOD = (Condition("ResolvedRefs", "True", "ResolvedRefs", "", 1),)
BAD = (Condition("ResolvedRefs", "False", "InvalidCertificateRef", "no key", 1),)


class Writer:
    """A writer that runs, and the Gateway that it writes to."""

    def __init__(self, server: FakeApiServer, kube: KubeClient) -> None:
        self.server = server
        self.status = StatusWriter(kube, SystemClock(), random.Random(1), lambda: True, CollectorRegistry())

    def there(self) -> Reported:
        return reported(self.server.get("networking.istio.io/v1", "Gateway", "edge", "default"))

    def patches(self) -> int:
        return sum(map(_a_patch, self.server.asked))

    def says(self, wished: tuple[Condition, ...]) -> bool:
        return self.there().conditions == wished and not self.status.waiting


@pytest.fixture
async def writer(api_server: FakeApiServer, kube: KubeClient) -> AsyncIterator[Writer]:
    for each in our_crds():
        api_server.seed(each)
    spec = {"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}
    about = {"name": "edge", "namespace": "default"}
    api_server.seed({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": about, "spec": spec})
    made = Writer(api_server, kube)
    async with TaskScope() as scope:
        scope.spawn(made.status.run(), name="status")
        yield made


def _a_patch(asked: Asked) -> bool:
    return asked.verb == "patch"


async def test_what_its_watch_tells_before_the_answer_to_the_write_comes_does_not_keep_the_next_wish_back(
    writer: Writer, eventually: Eventually
) -> None:
    writer.status.want(GATEWAY, GOOD, UNREPORTED)
    await eventually(lambda: writer.says(GOOD), "the first is written")
    good = writer.there()
    held = writer.server.faults.hold(_a_patch)
    writer.status.want(GATEWAY, BAD, good)
    await eventually(lambda: held.waiting == 1, "the second is on its way")
    writer.status.want(GATEWAY, BAD, Reported(BAD, good.since))
    held.release()
    await eventually(lambda: writer.says(BAD), "the second is written")
    writer.status.want(GATEWAY, GOOD, writer.there())
    await eventually(lambda: writer.says(GOOD), "and the first again")


async def test_a_wish_that_is_taken_back_while_it_is_written_is_put_right(
    writer: Writer, eventually: Eventually
) -> None:
    writer.status.want(GATEWAY, GOOD, UNREPORTED)
    await eventually(lambda: writer.says(GOOD), "the first is written")
    good = writer.there()
    held = writer.server.faults.hold(_a_patch)
    writer.status.want(GATEWAY, BAD, good)
    await eventually(lambda: held.waiting == 1, "the second is on its way")
    writer.status.want(GATEWAY, GOOD, good)
    held.release()
    await eventually(lambda: writer.patches() == 3 and writer.says(GOOD), "the first stands there")


async def test_what_another_wrote_as_we_wish_is_no_reason_to_keep_back_what_we_wrote_before_it(
    writer: Writer, kube: KubeClient, eventually: Eventually
) -> None:
    """The leader of meanwhile, or we ourselves by a write whose answer was lost."""
    writer.status.want(GATEWAY, GOOD, UNREPORTED)
    await eventually(lambda: writer.says(GOOD), "the first is written")
    other = Writer(writer.server, kube)
    async with TaskScope() as scope:
        scope.spawn(other.status.run(), name="another's status")
        other.status.want(GATEWAY, BAD, writer.there())
        await eventually(lambda: other.says(BAD), "another writes")
    writer.status.want(GATEWAY, BAD, writer.there())
    writer.status.want(GATEWAY, GOOD, writer.there())
    await eventually(lambda: writer.says(GOOD), "the first again")


async def test_a_control_plane_that_sees_it_otherwise_is_answered_once(writer: Writer, eventually: Eventually) -> None:
    writer.status.want(GATEWAY, GOOD, UNREPORTED)
    await eventually(lambda: writer.says(GOOD), "it is written")
    for _ in range(3):
        writer.status.want(GATEWAY, GOOD, Reported(BAD, writer.there().since))
        assert writer.status.waiting == 0


async def test_what_is_forgotten_while_it_is_written_is_written_anew_when_it_comes_again(
    writer: Writer, eventually: Eventually
) -> None:
    held = writer.server.faults.hold(_a_patch)
    writer.status.want(GATEWAY, GOOD, UNREPORTED)
    await eventually(lambda: held.waiting == 1, "it is on its way")
    writer.status.forget(GATEWAY)
    held.release()
    await eventually(lambda: writer.says(GOOD), "it is written all the same")
    writer.status.want(GATEWAY, GOOD, UNREPORTED)
    assert writer.status.waiting == 1
