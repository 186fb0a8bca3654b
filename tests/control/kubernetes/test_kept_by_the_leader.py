"""What the leader keeps in the cluster: the roots in namespaces, and in webhook configurations."""

import base64
import logging
from collections.abc import Awaitable, Callable

import pytest

from control.kubernetes.apply import apply
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import CONFIG_MAPS, MUTATING_WEBHOOKS
from control.kubernetes.root_certificates import RootCertificates
from control.kubernetes.webhook_bundles import WebhookBundles, configurations
from mesh.lifecycle import TaskScope
from tests.kubernetes.api_server import FakeApiServer

Eventually = Callable[..., Awaitable[None]]


class Mesh:
    """What the two are told by."""

    def __init__(self) -> None:
        self.pem = "one\n"
        self.namespaces = {"default", "shop", "kube-system"}
        self.leads = True

    def certificates(self, kube: KubeClient) -> RootCertificates:
        return RootCertificates(kube, lambda: self.pem, lambda: self.namespaces, lambda: self.leads)

    def bundles(self, kube: KubeClient) -> WebhookBundles:
        return WebhookBundles(kube, lambda: self.pem, lambda: self.leads, configurations(""))


@pytest.fixture
def mesh(api_server: FakeApiServer) -> Mesh:
    api_server.seed({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    return Mesh()


def in_namespace(server: FakeApiServer, name: str) -> str | None:
    try:
        found: str = server.get("v1", "ConfigMap", "remora-ca-root-cert", name)["data"]["root.pem"]
    except LookupError:
        return None
    return found


def writes(server: FakeApiServer) -> int:
    return sum(asked.verb == "patch" for asked in server.asked)


async def test_every_namespace_but_the_clusters_own_gets_the_roots_once(
    mesh: Mesh, kube: KubeClient, api_server: FakeApiServer
) -> None:
    certificates = mesh.certificates(kube)
    assert await certificates.write()
    assert [in_namespace(api_server, name) for name in ("default", "shop", "kube-system")] == ["one\n", "one\n", None]
    assert await certificates.write()
    assert writes(api_server) == 2


async def test_new_roots_and_new_namespaces_are_written_when_they_come(
    mesh: Mesh, kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    certificates = mesh.certificates(kube)
    async with TaskScope() as scope:
        scope.spawn(certificates.run(), name="certificates")
        await eventually(lambda: in_namespace(api_server, "shop") == "one\n", "written")
        mesh.pem = "one\ntwo\n"
        certificates.wake()
        await eventually(lambda: in_namespace(api_server, "shop") == "one\ntwo\n", "both are written")
        api_server.seed({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}})
        mesh.namespaces.add("new")
        certificates.wake()
        await eventually(lambda: in_namespace(api_server, "new") == "one\ntwo\n", "the new one has it")


async def test_who_does_not_lead_writes_nothing(mesh: Mesh, kube: KubeClient, api_server: FakeApiServer) -> None:
    mesh.leads = False
    assert await mesh.certificates(kube).write()
    assert writes(api_server) == 0


async def test_one_namespace_that_refuses_does_not_keep_others_from_theirs(
    mesh: Mesh, kube: KubeClient, api_server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificates = mesh.certificates(kube)
    api_server.faults.refuse(500, times=2, which=lambda asked: asked.namespace == "default" and asked.verb == "patch")
    assert not await certificates.write()
    assert not await certificates.write()
    assert in_namespace(api_server, "shop") == "one\n"
    assert caplog.text.count("namespace default has not got the mesh's root") == 1
    assert await certificates.write()
    assert in_namespace(api_server, "default") == "one\n"
    assert "namespace default has got the mesh's root" in caplog.text


async def test_a_namespace_that_is_gone_is_no_trouble(
    mesh: Mesh, kube: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    mesh.namespaces.add("gone")
    assert await mesh.certificates(kube).write()
    assert "gone" not in caplog.text


async def test_what_somebody_edited_is_put_right_and_what_else_they_added_stays(
    mesh: Mesh, kube: KubeClient, api_server: FakeApiServer
) -> None:
    certificates = mesh.certificates(kube)
    await certificates.write()
    edited = {"data": {"root.pem": "forged", "more": "theirs"}}
    await kube.patch(CONFIG_MAPS, "remora-ca-root-cert", edited, "shop", params={"fieldManager": "somebody"})
    certificates.anew()
    await certificates.write()
    assert api_server.get("v1", "ConfigMap", "remora-ca-root-cert", "shop")["data"] == {
        "root.pem": "one\n",
        "more": "theirs",
    }


def configuration(kind: str, name: str, *webhooks: str) -> dict[str, object]:
    service = {"namespace": "remora-system", "name": "remora-control", "path": "/inject"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {"name": f"{each}.remora.io", "clientConfig": {"service": service}, "sideEffects": "None",
             "admissionReviewVersions": ["v1"], "rules": []}
            for each in webhooks
        ],
    }  # fmt: skip


def bundles_of(server: FakeApiServer, kind: str, name: str) -> list[str | None]:
    found = server.get("admissionregistration.k8s.io/v1", f"{kind}WebhookConfiguration", name)["webhooks"]
    texts = [each["clientConfig"].get("caBundle") for each in found]
    return [base64.b64decode(text).decode() if text else None for text in texts]


async def test_every_webhook_of_ours_gets_the_roots_and_of_others_none(
    mesh: Mesh, kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    api_server.seed(configuration("Mutating", "remora-injector", "a", "b"))
    api_server.seed(configuration("Validating", "remora-validator", "c"))
    api_server.seed(configuration("Mutating", "remora-injector-canary", "d"))
    bundles = mesh.bundles(kube)
    async with TaskScope() as scope:
        scope.spawn(bundles.run(), name="bundles")
        await eventually(lambda: bundles_of(api_server, "Validating", "remora-validator") == ["one\n"], "written")
        assert bundles_of(api_server, "Mutating", "remora-injector") == ["one\n", "one\n"]
        assert bundles_of(api_server, "Mutating", "remora-injector-canary") == [None]
        mesh.pem = "two\none\n"
        bundles.wake()
        await eventually(
            lambda: bundles_of(api_server, "Validating", "remora-validator") == ["two\none\n"], "both while rotating"
        )
    assert not await bundles.write(MUTATING_WEBHOOKS, "remora-injector"), "nothing is left to write"


async def test_an_edit_in_between_is_not_overwritten(mesh: Mesh, kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.seed(configuration("Mutating", "remora-injector", "a"))
    bundles = mesh.bundles(kube)
    hold = api_server.faults.hold(lambda asked: asked.verb == "patch")
    import asyncio

    writing = asyncio.ensure_future(bundles.write(MUTATING_WEBHOOKS, "remora-injector"))
    while not hold.waiting:
        await asyncio.sleep(0.01)
    api_server.seed(configuration("Mutating", "remora-injector", "other", "a"))
    hold.release()
    with pytest.raises(ApiError):
        await writing
    assert bundles_of(api_server, "Mutating", "remora-injector") == [None, None]
    assert await bundles.write(MUTATING_WEBHOOKS, "remora-injector")


async def test_a_missing_configuration_is_said_once(
    mesh: Mesh, kube: KubeClient, api_server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    bundles = mesh.bundles(kube)
    for _ in range(3):
        await bundles._keep(MUTATING_WEBHOOKS, "remora-injector")
    assert caplog.text.count("there is no mutatingwebhookconfigurations remora-injector") == 1
    api_server.seed(configuration("Mutating", "remora-injector", "a"))
    await bundles._keep(MUTATING_WEBHOOKS, "remora-injector")
    assert bundles_of(api_server, "Mutating", "remora-injector") == ["one\n"]


def test_a_revision_has_configurations_of_its_own() -> None:
    assert [name for _, name in configurations("")] == ["remora-injector", "remora-validator"]
    assert [name for _, name in configurations("default")] == ["remora-injector", "remora-validator"]
    assert [name for _, name in configurations("canary")] == ["remora-injector-canary", "remora-validator-canary"]


async def test_applying_says_some_fields_and_leaves_others_to_their_owners(
    kube: KubeClient, api_server: FakeApiServer
) -> None:
    def document(**data: str) -> dict[str, object]:
        metadata = {"name": "a", "namespace": "default"}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    await apply(kube, CONFIG_MAPS, document(x="1", y="1"), manager="one")
    await apply(kube, CONFIG_MAPS, document(z="2"), manager="two")
    await apply(kube, CONFIG_MAPS, document(x="1"), manager="one")
    assert api_server.get("v1", "ConfigMap", "a", "default")["data"] == {"x": "1", "z": "2"}
    with pytest.raises(ApiError) as caught:
        await apply(kube, CONFIG_MAPS, document(z="3"), manager="one", force=False)
    assert caught.value.conflict
    await apply(kube, CONFIG_MAPS, document(z="3"), manager="one", dry_run=True)
    assert api_server.get("v1", "ConfigMap", "a", "default")["data"]["z"] == "2"
