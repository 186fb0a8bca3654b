"""The control plane may do what it does, and nothing more: its roles are held against what it asked of the API server,
while it did everything that it does there. Both ways: what it is not granted is refused, and what it never asks for is
too much."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from control.api import SourceFile, parse
from control.ca.in_cluster import ClusterAuthority, RootSecret
from control.ca.template import DEFAULT_LIFETIMES
from control.kubernetes.credentials import connect
from control.kubernetes.leadership import Leadership
from control.stores.errors import NothingApplied
from control.stores.kubernetes import KubernetesStore
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.install.crds.definitions import kinds
from remora.install.objects import objects
from remora.install.reading import load
from tests.control.ca.conftest import TurnedClock
from tests.e2e.cluster import SYSTEM, Cluster, until
from tests.e2e.control import SHORT_TERM, LeastPrivileged
from tests.e2e.fake_server import FakeInThread
from tests.e2e.places import Here
from tests.e2e.test_identity import first_certificate
from tests.kubernetes.api_server import FakeApiServer

ACCOUNT = f"system:serviceaccount:{SYSTEM}:remora-control"
Permission = tuple[str, str, str]

BY_SERVER_SIDE_APPLY = ("create", "", "configmaps")
"""Applying what is not there yet is a patch on the wire, and the API server asks for `create` besides
(handlers/patch.go, createAuthorizerAttributes); the fake one does not."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    server, here = FakeInThread(tmp_path_factory.mktemp("server")), Here()
    with contextlib.ExitStack() as stack:
        stack.callback(here.close)
        made = Cluster(server, here)
        stack.callback(made.close)
        made.start()
        server.fake.access.rbac = True
        yield made


@pytest.fixture(scope="module")
def control(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeastPrivileged]:
    settings = tmp_path_factory.mktemp("control")
    made = LeastPrivileged(cluster, settings / "control", *SHORT_TERM)
    made.start()
    yield made
    assert made.end() == 0


def granted(*sets: str) -> set[Permission]:
    """By the roles of an installation."""
    roles = [each for each in objects(load([], sets)) if each["kind"] in ("Role", "ClusterRole")]
    return {
        (verb, group, resource)
        for role in roles
        if role["metadata"]["name"] == "remora-control"
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def fake(cluster: Cluster) -> Any:
    assert isinstance(cluster.server, FakeInThread)
    return cluster.server.fake


def bad_rule(kind: Any) -> dict[str, Any]:
    return {
        "apiVersion": kind.api_versions[0], "kind": kind.name, "metadata": {"name": "bad", "namespace": "shop"},
        "spec": {"nonsense": 1},
    }  # fmt: skip


def injection_review(namespace: str) -> dict[str, Any]:
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    return {
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": namespace,
            "object": {"apiVersion": "v1", "kind": "Pod", **pod},
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
        },
    }  # fmt: skip


async def as_the_control_plane(cluster: Cluster, directory: Path, what: Callable[[Any], Awaitable[None]]) -> None:
    """With its account's own token."""
    kubeconfig = cluster.kubeconfig_of(cluster.token(SYSTEM, "remora-control"), directory / "own")
    client = await connect(SystemClock(), kubeconfig=str(kubeconfig))
    try:
        await what(client)
    finally:
        await client.close()
        # TLS says goodbye after that; a loop that ends before would leave a socket open.
        async with asyncio.timeout(5):
            while len(asyncio.get_running_loop()._selector.get_map()) > 1:
                await asyncio.sleep(0.01)


async def follow(client: Any, server: FakeApiServer) -> None:
    """Another replica waits for the Lease, until it has asked to be told of its end."""
    waiting = Leadership(
        client, SystemClock(), random.Random(1), namespace=SYSTEM, name="remora-control", identity="another"
    )
    async with TaskScope() as scope:
        scope.spawn(waiting.run(), name="waiting")
        while ("watch", "coordination.k8s.io", "leases") not in server.used_by(ACCOUNT):
            await asyncio.sleep(0.01)


async def rotate(client: Any) -> None:
    """A root in the last third of its life is followed by another."""
    clock = TurnedClock()

    class Nowhere:
        async def append(self, record: dict[str, object]) -> None:
            raise AssertionError("no certificate is asked for here")

    authority = ClusterAuthority(RootSecret(client, SYSTEM), "cluster.local", clock, Nowhere(), lambda: True)
    await authority.open()
    clock.pass_s(DEFAULT_LIFETIMES.root_s * 0.7)
    await authority.look()


def test_everything_that_it_does_is_granted_and_everything_that_is_granted_it_does(
    cluster: Cluster, control: LeastPrivileged, tmp_path: Path
) -> None:
    server = fake(cluster)
    cluster.namespace("shop")
    for kind in kinds():
        cluster.server.do(lambda kind=kind: server.seed(bad_rule(kind)))  # type: ignore[union-attr]
    written = {("patch", kind.api_versions[0].partition("/")[0], f"{kind.plural}/status") for kind in kinds()}
    until(
        lambda: written <= server.used_by(ACCOUNT), f"the status of every kind is written: {control.said()}", within=20
    )

    # A pod of a namespace that it has not heard of.
    answer = httpx.post(
        f"https://127.0.0.1:{control.ports['webhook']}/inject",
        json=injection_review("nowhere"),
        verify=False,
        trust_env=False,
    )
    assert answer.status_code == 503, "nobody knows that namespace"

    cluster.account("shop", "shop")
    pod = cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": "shop"},
        "spec": {"serviceAccountName": "shop", "containers": [{"name": "app", "image": "app:1"}]},
    })  # fmt: skip
    first_certificate(control, cluster.token("shop", "shop", "remora-ca", pod), POD_NAME="client")
    until(lambda: cluster.find("ConfigMap", "remora-ca-root-cert", "shop"), "the root is in shop")
    until(lambda: ("update", "coordination.k8s.io", "leases") in server.used_by(ACCOUNT), "the Lease is renewed")
    asyncio.run(as_the_control_plane(cluster, tmp_path, lambda client: follow(client, server)))
    asyncio.run(as_the_control_plane(cluster, tmp_path, rotate))

    assert "forbidden" not in control.said()
    used = server.used_by(ACCOUNT) | {BY_SERVER_SIDE_APPLY}
    assert granted() - used == set(), "granted, and never asked for"
    assert used - granted() == set(), "asked for, and not granted"


def test_rules_are_written_with_what_is_granted_for_that_and_not_otherwise(
    cluster: Cluster, control: LeastPrivileged, tmp_path: Path
) -> None:
    server = fake(cluster)
    more = granted("control.writesRules=true") - granted()
    assert {verb for verb, _, _ in more} == {"create", "delete", "patch", "update"}
    assert {resource for _, _, resource in more} == {kind.plural for kind in kinds()}
    assert granted("console.editRules=true") - granted() == more, "the console's edits are written in the same way"
    assert granted("console.editRules=true", "revision=canary") == granted("revision=canary")

    # Somebody else's field, which the rule that is applied does not have: that is replaced, not merged.
    found = YAML(typ="safe", pure=True).load(RULE)
    cluster.apply({**found, "spec": {**found["spec"], "gateways": ["mesh"]}})

    async def write(client: Any) -> None:
        (rule,) = parse([SourceFile("a.yaml", RULE)]).resources
        async with TaskScope() as scope:
            store = KubernetesStore(
                client, SystemClock(), random.Random(1), CollectorRegistry(), may_write=lambda: False
            )
            store.start(scope)
            await store.synced()
            with pytest.raises(NothingApplied, match='grant verb "patch" on resource "virtualservices"'):
                await asyncio.to_thread(store.change, [rule], [])
            for document in objects(load([], ["control.writesRules=true"])):
                if document["kind"] == "ClusterRole":
                    await asyncio.to_thread(cluster.apply, document)
            await asyncio.to_thread(store.change, [rule], [])
            await asyncio.to_thread(store.change, [], [rule.key])

    asyncio.run(as_the_control_plane(cluster, tmp_path, write))
    asked = {verb for verb, _, resource in server.used_by(ACCOUNT) if resource == "virtualservices"}
    assert asked == {"list", "watch", "patch", "update", "delete"}, "and create, as by server-side apply"


RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [outside.example]
  http: [{redirect: {uri: /}}]
"""
