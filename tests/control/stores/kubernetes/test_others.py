"""Several clusters' registries as one: a service has the endpoints of all of them, whichever comes, goes or is away."""

import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from tests.control.stores.kubernetes.conftest import Follow, Followed
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, node, pod, service

Eventually = Callable[..., Awaitable[None]]
SYSTEM = "remora-system"


def web(number: int, *, name: str = "web") -> list[Object]:
    """The service with a pod of its own, `10.NUMBER.0.1`."""
    address = f"10.{number}.0.1"
    ends = endpoint_slice(f"{name}-1", name, endpoint(address, f"{name}-{number}"))
    return [service(name, addresses=(f"10.96.{number}.1",)), ends, pod(f"{name}-{number}", address)]


def secret(name: str, server: FakeApiServer, token: str = "admin") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"cluster-{name}", "namespace": SYSTEM, "labels": {"remora.io/cluster": name}},
        "data": {"kubeconfig": base64.b64encode(orjson.dumps(server.kubeconfig(token))).decode()},
    }


def addresses(made: Followed, name: str = "web") -> list[str]:
    return [app.app.partition(":")[0] for _, app in made.world.services["default", name].ports[0].members]


@pytest.fixture
async def east() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer(tls=True) as server:
        for each in [*web(2), node("node-1", "us", "us-east")]:
            server.seed(each)
        yield server


@pytest.fixture
def joined(server: FakeApiServer, east: FakeApiServer, follow: Follow) -> Follow:
    """Following a cluster that has been told of `east`."""
    for each in [*web(1), secret("east", east)]:
        server.seed(each)

    @contextlib.asynccontextmanager
    async def following(**more: str) -> AsyncIterator[Followed]:
        async with follow(leads=False, clusters_in=SYSTEM, **more) as made:
            yield made

    return following


async def test_a_service_has_the_endpoints_of_every_cluster_from_the_first_world_on(joined: Follow) -> None:
    async with joined() as made:
        assert addresses(made) == ["10.1.0.1", "10.2.0.1"]
        assert made.world.services["default", "web"].addresses == ("10.96.1.1",), "its address is the one here"
        here, there = made.world.services["default", "web"].members
        assert (here.cluster, there.cluster, there.locality.zone) == ("", "east", "us-east")
        assert set(made.world.workloads) == {("default", "web-1")}, "pods elsewhere are others' to configure"


async def test_a_change_elsewhere_replaces_its_service_alone(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, eventually: Eventually
) -> None:
    server.seed(service("api"))
    async with joined() as made:
        before = made.world
        east.seed(pod("web-2", "10.2.0.1", labels={"version": "v2"}))
        await eventually(lambda: made.world is not before, "it is seen")
        assert made.world.services["default", "api"] is before.services["default", "api"]
        assert made.world.workloads is before.workloads
        assert made.world.services["default", "web"].members[1].labels == {"version": "v2"}


async def test_a_service_that_is_not_here_has_no_name_here(east: FakeApiServer, joined: Follow) -> None:
    for each in web(3, name="only-there"):
        east.seed(each)
    async with joined() as made:
        assert set(made.world.services) == {("default", "web")}


async def test_a_cluster_that_is_away_keeps_its_last_endpoints_and_is_said_to_be(
    east: FakeApiServer, joined: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with joined() as made:
        await eventually(lambda: east.faults.watching == 4, "it is watched")
        await east.stop()
        await eventually(
            lambda: any("of cluster east does not answer" in each for each in caplog.messages), "it is said"
        )
        away = {"cluster": "east", "resource": "pods", "state": "away"}
        await eventually(lambda: made.metric("remora_kubernetes_watch_state", **away) == 1, "it is counted")
        assert addresses(made) == ["10.1.0.1", "10.2.0.1"]
        east.remove("discovery.k8s.io/v1", "EndpointSlice", "web-1", "default")
        await east.start()
        await eventually(lambda: addresses(made) == ["10.1.0.1"], "what happened meanwhile is known")


async def test_a_cluster_whose_secret_goes_takes_its_endpoints_with_it(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, eventually: Eventually
) -> None:
    async with joined() as made:
        server.remove("v1", "Secret", "cluster-east", SYSTEM)
        await eventually(lambda: addresses(made) == ["10.1.0.1"], "it is gone")
        await eventually(lambda: east.faults.watching == 0, "nobody watches it any more")
        server.seed(secret("east", east))
        await eventually(lambda: addresses(made) == ["10.1.0.1", "10.2.0.1"], "it is joined again")


async def test_of_two_secrets_for_one_cluster_the_second_changes_nothing_until_the_first_goes(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    again = secret("east", east)
    again["metadata"]["name"] = "cluster-east-again"
    caplog.set_level(logging.INFO)
    async with joined() as made:
        server.seed(again)
        await eventually(lambda: "cluster east is not joined: another Secret says so too" in caplog.messages, "said")
        caplog.clear()
        server.remove("v1", "Secret", "cluster-east-again", SYSTEM)
        server.seed(again)
        await eventually(lambda: "cluster east is not joined: another Secret says so too" in caplog.messages, "again")
        assert addresses(made) == ["10.1.0.1", "10.2.0.1"]
        server.remove("v1", "Secret", "cluster-east", SYSTEM)
        await eventually(lambda: "cluster east is joined" in caplog.messages, "the second counts now")
        await eventually(lambda: addresses(made) == ["10.1.0.1", "10.2.0.1"], "its endpoints are there")


async def test_new_credentials_are_taken_over_without_a_gap(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, eventually: Eventually
) -> None:
    async with joined() as made:
        worlds = len(made.worlds)
        hold = east.faults.hold()
        server.seed(secret("east", east, east.access.issue("kube-system", "remora")))
        await eventually(lambda: hold.waiting == 4, "it asks with the new ones")
        assert addresses(made) == ["10.1.0.1", "10.2.0.1"]
        east.remove("v1", "Pod", "web-2", "default")
        hold.release()
        await eventually(lambda: addresses(made) == ["10.1.0.1"], "what is not there any more is gone")
        assert all(addresses_of(world) for world in made.worlds[worlds:])
        users = {asked.user for asked in east.asked[-8:]}
        assert users == {"system:serviceaccount:kube-system:remora"}


def addresses_of(world: object) -> int:
    return len(world.services["default", "web"].members)  # type: ignore[attr-defined]


async def test_a_kubeconfig_that_will_not_do_is_said_and_keeps_nobody_waiting(
    server: FakeApiServer, joined: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    bad = secret("west", server)  # without TLS
    server.seed(bad)
    async with joined() as made:
        assert addresses(made) == ["10.1.0.1", "10.2.0.1"]
        assert any(
            "cluster west is not joined: the kubeconfig's server must be https" in each for each in caplog.messages
        )


async def test_secrets_that_may_not_be_read_leave_the_cluster_alone_in_the_mesh(
    server: FakeApiServer, joined: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    server.access.forbidden.add(("list", "", "secrets"))
    async with joined() as made:
        assert addresses(made) == ["10.1.0.1"]
        assert any('grant verb "list" on resource "secrets"' in each and SYSTEM in each for each in caplog.messages)


def shared(told: Object) -> Object:
    return told | {"metadata": {**told["metadata"], "annotations": {"remora.io/control-plane": "shared"}}}


def meshed(name: str, address: str) -> Object:
    return pod(name, address, labels={"security.istio.io/tlsMode": "istio"})


async def test_pods_of_a_cluster_without_a_control_plane_are_configured_here(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, eventually: Eventually
) -> None:
    for each in (meshed("client", "10.2.0.9"), meshed("same", "10.2.0.10")):
        east.seed(each)
    server.seed(meshed("same", "10.1.0.10"))
    server.seed(shared(secret("east", east)))
    async with joined() as made:
        found = made.world.workloads
        assert found["default", "client"].cluster == "east"
        assert found["default", "same"].cluster == "", "who is here is nobody else"
        assert made.store.client_of("east") is not None
        server.remove("v1", "Pod", "same", "default")
        await eventually(lambda: made.world.workloads["default", "same"].cluster == "east", "the other is let in")
        east.remove("v1", "Pod", "client", "default")
        await eventually(lambda: ("default", "client") not in made.world.workloads, "it is gone")
        server.seed(secret("east", east))
        await eventually(lambda: ("default", "same") not in made.world.workloads, "its own control plane has them")
        assert made.store.client_of("east") is None


async def test_what_is_known_of_each_cluster_is_told(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, eventually: Eventually
) -> None:
    server.seed(secret("west", server))  # without TLS
    async with joined() as made:
        told = {each.name: each for each in made.store.clusters()}
        assert (told["east"].state, told["east"].services, told["east"].shared) == ("joined", 1, False)
        assert told["west"].state == "refused"
        assert "must be https" in told["west"].message
        await eventually(lambda: east.faults.watching == 4, "it is watched")
        await east.stop()
        await eventually(lambda: made.store.clusters()[0].state == "away", "it is told to be away")
        assert made.store.clusters()[0].services == 1, "its last endpoints go on"
        assert made.metric("remora_clusters", state="away") == 1


async def test_an_instance_is_counted_once_whoever_tells_of_it_and_nobody_joins_itself(
    server: FakeApiServer, east: FakeApiServer, joined: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("again", "home"):
        server.seed(secret(name, east))
    async with joined(own_name="home") as made:
        assert addresses(made) == ["10.1.0.1", "10.2.0.1"]
        assert [each.name for each in made.store.clusters()] == ["again", "east"]
        assert any("cluster home is not joined: that is our own name" in each for each in caplog.messages)
