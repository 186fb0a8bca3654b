"""A gateway is sent the credentials that its servers name, of its own namespace, and nobody else is sent a key."""

from dataclasses import replace

import pytest

from control.api import Workload
from control.api.credential import Credential
from control.api.world import World
from control.debug.dump import dump
from control.generate import Snapshot, generate
from control.generate.types import LDS, SDS
from control.ir.mesh import Mesh
from control.ir.settings import MeshSettings
from control.translate.mesh import translate
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.control.translate.bookinfo import WORKLOADS, proxy, rule, world
from tests.control.translate.simulation import Simulation, simulate
from tests.kubernetes.kubeconfigs import serving_files

AUTHORITY, CHAIN, KEY = serving_files("127.0.0.1")
SETTINGS = MeshSettings(root_pem=AUTHORITY)
FOUND = Credential(CHAIN.decode(), KEY.decode())
WITH_AUTHORITY = replace(FOUND, authorities_pem=AUTHORITY)
INGRESS = Workload(
    name="ingress",
    namespace="istio-system",
    kind="gateway",
    labels={"istio": "ingressgateway"},
    service_account="ingress",
    gateway_ports={"443": "127.0.0.1:18443"},
)
EVERYONE = (*(each for each in WORKLOADS if each.name != "ingress"), INGRESS)
AT = "127.0.0.1_18443"


def gateway(mode: str = "SIMPLE", *, protocol: str = "HTTPS") -> str:
    server = f"port: {{number: 443, name: x, protocol: {protocol}}}, hosts: ['*']"
    tls = f"tls: {{mode: {mode}, credentialName: shop}}"
    return rule("Gateway", "edge", f"selector: {{istio: ingressgateway}}\nservers: [{{{server}, {tls}}}]")


def a_mesh(found: dict[tuple[str, str], Credential], mode: str = "SIMPLE") -> Mesh:
    made: World = replace(world(gateway(mode), workloads=EVERYONE), found_services={}, credentials=found)
    return translate(made, SETTINGS).mesh


def secrets(snapshot: Snapshot) -> dict[str, Certificate | TrustAnchors]:
    decoded = [decode(Kind.SDS, each) for each in snapshot.resources[SDS].values()]
    return {each.value.name: each.value for each in decoded}


def at_the_edge(made: Mesh) -> Simulation:
    return simulate(made, proxy("ingress", EVERYONE))


def test_a_gateway_ends_tls_with_the_credential_of_its_namespace() -> None:
    simulation = at_the_edge(a_mesh({("istio-system", "shop"): FOUND, ("istio-system", "other"): FOUND}))
    (chain,) = [each for each in simulation.listeners[AT].filter_chains if each.tls is not None]
    assert (chain.tls.certificate, chain.tls.require_client_certificate) == ("kubernetes://shop", False)
    sent = secrets(simulation.snapshot)
    assert set(sent) == {"ROOTCA", "kubernetes://shop"}, "what no server names is not sent"
    assert sent["kubernetes://shop"].key_pem == KEY.decode()


def test_clients_are_asked_for_certificates_of_the_authorities_beside_it() -> None:
    simulation = at_the_edge(a_mesh({("istio-system", "shop"): WITH_AUTHORITY}, "MUTUAL"))
    (chain,) = [each for each in simulation.listeners[AT].filter_chains if each.tls is not None]
    assert (chain.tls.validation, chain.tls.require_client_certificate) == ("kubernetes://shop-cacert", True)
    assert secrets(simulation.snapshot)["kubernetes://shop-cacert"].pem == AUTHORITY


@pytest.mark.parametrize(
    ("found", "mode"),
    [
        pytest.param({}, "SIMPLE", id="there is none"),
        pytest.param({("default", "shop"): FOUND}, "SIMPLE", id="another namespace has it"),
        pytest.param({("istio-system", "shop"): FOUND}, "MUTUAL", id="it has no authorities to ask with"),
    ],
)
def test_a_server_without_its_credential_is_not_there(found: dict[tuple[str, str], Credential], mode: str) -> None:
    simulation = at_the_edge(a_mesh(found, mode))
    assert all(chain.tls is None for chain in simulation.listeners[AT].filter_chains)
    assert set(secrets(simulation.snapshot)) == {"ROOTCA"}


def test_a_sidecar_is_sent_no_credential_even_in_that_namespace() -> None:
    beside = INGRESS.model_copy(update={"name": "beside", "kind": "sidecar", "gateway_ports": {}})
    made = a_mesh({("istio-system", "shop"): FOUND})
    assert set(secrets(generate(made, proxy("beside", (*EVERYONE, beside))))) == {"ROOTCA"}


def test_a_key_shows_nowhere() -> None:
    made = a_mesh({("istio-system", "shop"): FOUND})
    shown = f"{made!r} {made.credentials!r} {FOUND!r} {dump(at_the_edge(made).snapshot, 'secrets')!r}"
    assert "PRIVATE KEY" not in shown
    assert "[redacted]" in shown


def test_a_renewed_certificate_is_one_secret_and_no_listener() -> None:
    first = translate(
        replace(world(gateway(), workloads=EVERYONE), found_services={}, credentials={("istio-system", "shop"): FOUND})
    )
    before = generate(first.mesh, proxy("ingress", EVERYONE))
    _, chain, key = serving_files("127.0.0.1")
    renewed = {("istio-system", "shop"): Credential(chain.decode(), key.decode())}
    second = translate(replace(first.world, generation=2, credentials=renewed), first.mesh.settings, first)
    after = generate(second.mesh, proxy("ingress", EVERYONE), before)
    assert after.resources[SDS].changed_since(before.resources[SDS]) == {"kubernetes://shop"}
    assert after.resources[LDS] == before.resources[LDS]
