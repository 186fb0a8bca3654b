"""`remora multicluster add` makes what joins a cluster, with as little as that needs; `remove` takes it away."""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from control.kubernetes.credentials import connect
from control.stores.kubernetes import KubernetesStore
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.failure import Failure
from remora.install.names import SYSTEM_NAMESPACE
from remora.multicluster.joining import TOKEN_WITHIN_S, join, only_here
from remora.multicluster.objects import READER, TOKEN_SECRET, reader_objects
from tests.control.ca.conftest import TurnedClock
from tests.e2e.fake_server import FakeInThread
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, node, our_crds, pod, service
from tests.remora.conftest import Remora

ACCOUNT = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{READER}"


@pytest.fixture
def east(tmp_path: Path) -> Iterator[FakeInThread]:
    """Whose token controller has been quick."""
    server = FakeInThread(tmp_path / "east")
    server.start()
    server.fake.access.rbac = True
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def filled(east: FakeInThread) -> FakeInThread:
    token = east.fake.access.issue(SYSTEM_NAMESPACE, READER)
    authority = east.fake.kubeconfig()["clusters"][0]["cluster"]["certificate-authority-data"]
    data = {"token": base64.b64encode(token.encode()).decode(), "ca.crt": authority}
    east.do(lambda: east.fake.seed({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": data,
        "metadata": {"name": TOKEN_SECRET, "namespace": SYSTEM_NAMESPACE},
    }))  # fmt: skip
    return east


def add(remora: Remora, east: FakeInThread, *more: str) -> Object:
    result = remora("multicluster", "add", "--context", "fake", "--kubeconfig", str(east.kubeconfig), *more)
    assert result.status == 0, result.err
    secret: Object = YAML(typ="safe", pure=True).load(result.out)
    return secret


def web(number: int) -> list[Object]:
    address = f"10.{number}.0.1"
    ends = endpoint_slice("web-1", "web", endpoint(address, f"web-{number}"))
    return [service("web"), ends, pod(f"web-{number}", address), node("node-1", "us", f"us-{number}")]


def test_the_secret_that_is_printed_joins_the_cluster_with_nothing_to_spare(
    remora: Remora, filled: FakeInThread, tmp_path: Path
) -> None:
    home = FakeInThread(tmp_path / "home")
    home.start()
    try:
        for server, number in ((home, 1), (filled, 2)):
            for each in [*our_crds(), *web(number)]:
                server.do(lambda server=server, each=each: server.fake.seed(each))  # type: ignore[misc]
        secret = add(remora, filled, "--name", "east")
        assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("remora-cluster-east", "remora-system")
        home.do(lambda: home.fake.seed(secret))
        assert asyncio.run(followed(home, filled)) == ["10.1.0.1", "10.2.0.1"]
    finally:
        home.stop()
    granted = {
        (verb, group, resource)
        for each in reader_objects(shared=False)
        for rule in each.get("rules", ())
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert filled.fake.used_by(ACCOUNT) == granted


async def followed(home: FakeInThread, other: FakeInThread) -> list[str]:
    client = await connect(SystemClock(), kubeconfig=str(home.kubeconfig))
    try:
        async with TaskScope() as scope:
            store = KubernetesStore(
                client,
                SystemClock(),
                random.Random(1),
                CollectorRegistry(),
                may_write=lambda: False,
                clusters_in=SYSTEM_NAMESPACE,
            )
            store.start(scope)
            await store.synced()
            async with asyncio.timeout(10):
                while other.fake.faults.watching < 3:  # pods, services, slices
                    await asyncio.sleep(0.01)
            return [app.app.partition(":")[0] for _, app in store.world.services["default", "web"].ports[0].members]
    finally:
        await client.close()
        async with asyncio.timeout(10):
            while home.fake.faults.watching or other.fake.faults.watching:  # TLS ends in two steps
                await asyncio.sleep(0.01)


def test_a_cluster_without_a_control_plane_is_asked_about_tokens_and_says_so(
    remora: Remora, filled: FakeInThread
) -> None:
    assert "annotations" not in add(remora, filled)["metadata"]
    secret = add(remora, filled, "--shared-control-plane")
    assert secret["metadata"]["annotations"] == {"remora.io/control-plane": "shared"}
    more = [rule for each in reader_objects(shared=True) for rule in each.get("rules", ())][-1]
    assert more == {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}


def test_what_is_made_is_deleted_again(remora: Remora, filled: FakeInThread) -> None:
    add(remora, filled)
    command = ("multicluster", "remove", "--context", "fake", "--kubeconfig", str(filled.kubeconfig))
    gone = remora(*command)
    assert gone.out.splitlines() == [
        f"deleted Secret {TOKEN_SECRET}",
        f"deleted ClusterRoleBinding {READER}",
        f"deleted ClusterRole {READER}",
        f"deleted ServiceAccount {READER}",
    ]
    assert remora(*command).out == "there was nothing to delete\n"


def test_an_address_that_leads_nowhere_is_noticed_before_the_secret_is_printed(
    remora: Remora, filled: FakeInThread
) -> None:
    result = remora(
        "multicluster", "add", "--context", "fake", "--kubeconfig", str(filled.kubeconfig),
        "--server", "https://127.0.0.1:1",
    )  # fmt: skip
    assert (result.status, result.out) == (1, "")
    assert "does not answer its reader at https://127.0.0.1:1" in result.err
    assert "give --server" in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--name", "East"), "is no name for a cluster", id="a name that is no label"),
        pytest.param(("--server", "http://10.0.0.1"), "write https://", id="an address without TLS"),
    ],
)
def test_wrong_options_are_refused(remora: Remora, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    result = remora("multicluster", "add", "--context", "fake", "--kubeconfig", str(tmp_path / "none"), *options)
    assert result.status == 2
    assert said in result.err


def test_a_token_that_nobody_makes_is_not_waited_for_for_ever(east: FakeInThread) -> None:
    clock = TurnedClock()

    async def attempt() -> None:
        client = await connect(SystemClock(), kubeconfig=str(east.kubeconfig))
        try:
            asking = asyncio.ensure_future(join(client, clock, "east", server="", shared=False))
            while not asking.done():
                clock.pass_s(TOKEN_WITHIN_S / 3)
                await asyncio.wait({asking}, timeout=0.02)
            await asking
        finally:
            await client.close()

    with pytest.raises(Failure, match="does its controller manager run"):
        asyncio.run(attempt())


@pytest.mark.parametrize(
    ("server", "here"),
    [("https://127.0.0.1:6443", True), ("https://[::1]:1", True), ("https://localhost:1", True),
     ("https://10.0.0.1:6443", False), ("https://api.example", False)],
)  # fmt: skip
def test_addresses_of_this_machine_alone_are_told(server: str, here: bool) -> None:
    assert only_here(server) is here


def test_no_secret_is_in_what_is_said(remora: Remora, filled: FakeInThread) -> None:
    result = remora("multicluster", "add", "--context", "fake", "--kubeconfig", str(filled.kubeconfig))
    config = json.loads(base64.b64decode(YAML(typ="safe", pure=True).load(result.out)["data"]["kubeconfig"]))
    assert config["users"][0]["user"]["token"] not in result.err
    assert "this machine alone" in result.err
