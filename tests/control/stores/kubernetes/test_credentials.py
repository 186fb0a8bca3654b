"""Secrets that Gateways name are read one by one, by whoever may read no others; a bad one displaces no good one."""

import base64
from collections.abc import Awaitable, Callable

import pytest

from control.stores.kubernetes.credentials import decode_credential
from tests.control.stores.kubernetes.conftest import Follow
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.kubeconfigs import serving_files
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, pod, rule, service

Eventually = Callable[..., Awaitable[None]]
AUTHORITY, CHAIN, KEY = serving_files("127.0.0.1")
_, OTHER_CHAIN, OTHER_KEY = serving_files("127.0.0.1")
SHOP = ("edge", "shop")


def secret(name: str = "shop", kind: str = "kubernetes.io/tls", **data: bytes) -> Object:
    entries = {"tls.crt": CHAIN, "tls.key": KEY} | {key.replace("_", "."): value for key, value in data.items()}
    encoded = {key: base64.b64encode(value).decode() for key, value in entries.items()}
    about = {"name": name, "namespace": "edge"}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": about, "data": encoded}


def edge(*names: str) -> list[Object]:
    """A gateway, its Service, and a Gateway that names Secrets."""
    gateway = pod("edge-1", "10.0.0.9", namespace="edge", labels={"app": "edge"})
    gateway["spec"]["containers"][0] |= {"name": "remora-proxy", "args": ["proxy", "--kind=gateway"]}
    servers = [
        {
            "port": {"number": 443, "name": f"https-{name}", "protocol": "HTTPS"},
            "hosts": [f"{name}.example.com"],
            "tls": {"mode": "SIMPLE", "credentialName": name},
        }
        for name in names
    ]
    return [
        gateway,
        service("edge", {"name": "https", "port": 443}, namespace="edge"),
        endpoint_slice("edge-1", "edge", endpoint("10.0.0.9", "edge-1"), namespace="edge", ports={"https": 8443}),
        rule("Gateway", "all", {"selector": {"app": "edge"}, "servers": servers}),
    ]


async def test_the_first_world_has_what_its_gateways_name_and_nothing_else(
    server: FakeApiServer, follow: Follow
) -> None:
    for each in [*edge("shop"), secret("shop", ca_crt=AUTHORITY.encode()), secret("unnamed")]:
        server.seed(each)
    async with follow(leads=False) as made:
        assert made.worlds == []
        assert set(made.world.credentials) == {SHOP}
        found = made.world.credentials[SHOP]
        assert (found.chain_pem, found.key_pem, found.authorities_pem) == (CHAIN.decode(), KEY.decode(), AUTHORITY)
        asked = {(each.verb, each.namespace, each.name) for each in server.asked if each.resource == "secrets"}
        assert asked <= {("list", "edge", "shop"), ("watch", "edge", "shop")}


async def test_it_is_enough_to_be_allowed_to_read_that_one(server: FakeApiServer, follow: Follow) -> None:
    for each in [*edge("shop", "secret"), secret("shop"), secret("secret")]:
        server.seed(each)
    allowed = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["shop"], "verbs": ["list", "watch"]}
    everything = [{"apiGroups": [group], "resources": ["*"], "verbs": ["*"]} for group in ("discovery.k8s.io", *OURS)]
    core = {"apiGroups": [""], "resources": ["pods", "nodes", "services", "namespaces"], "verbs": ["list", "watch"]}
    rbac = "rbac.authorization.k8s.io"
    server.seed(
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "c"}, "rules": [*everything, core]}
    )
    server.seed({"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "one"}, "rules": [allowed]})
    for name in ("c", "one"):
        server.seed({
            "apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "remora", "namespace": "default"}],
        })  # fmt: skip
    server.access.rbac = True
    server.access.tokens["admin"] = server.access.tokens.pop(server.access.issue("default", "remora"))
    async with follow(leads=False) as made:
        assert set(made.world.credentials) == {SHOP}


OURS = ("networking.istio.io", "security.istio.io", "extensions.remora.dev", "inspect.remora.dev")


async def test_a_renewed_one_is_taken_over_and_one_that_cannot_serve_is_not(
    server: FakeApiServer, follow: Follow, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    for each in [*edge("shop"), secret()]:
        server.seed(each)
    async with follow(leads=False) as made:
        server.seed(secret(tls_crt=OTHER_CHAIN))
        await eventually(lambda: any("is not the key of tls.crt" in each for each in caplog.messages), "it is said")
        assert made.world.credentials[SHOP].chain_pem == CHAIN.decode(), "the last good one goes on"
        assert "PRIVATE KEY" not in caplog.text
        server.seed(secret(tls_crt=OTHER_CHAIN, tls_key=OTHER_KEY))
        await eventually(lambda: made.world.credentials[SHOP].chain_pem == OTHER_CHAIN.decode(), "it is renewed")
        server.remove("v1", "Secret", "shop", "edge")
        await eventually(lambda: not made.world.credentials, "it is gone")


async def test_what_is_named_no_more_is_not_kept(server: FakeApiServer, follow: Follow, eventually: Eventually) -> None:
    for each in [*edge("shop"), secret(), secret("later")]:
        server.seed(each)
    async with follow(leads=False) as made:
        server.seed(edge("later")[-1])
        await eventually(lambda: set(made.world.credentials) == {("edge", "later")}, "the other one is read")


async def test_a_missing_one_is_said_in_the_gateways_status(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    for each in edge("shop"):
        server.seed(each)

    def analyzed() -> tuple[str, str]:
        found = server.get("networking.istio.io/v1", "Gateway", "all", "default").get("status", {})
        return next(
            ((each["status"], each["message"]) for each in found.get("conditions", ()) if each["type"] == "Analyzed"),
            ("", ""),
        )

    async with follow():
        await eventually(lambda: analyzed()[0] == "False", "it is said")
        assert "spec.servers[0].tls.credentialName: is 'shop', and namespace edge has no such Secret" in analyzed()[1]
        server.seed(secret())
        await eventually(lambda: analyzed()[0] == "True", "it is there")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (secret(tls_key=b""), "missing"),
        (secret(tls_crt=b"x"), "not PEM"),
        (secret(tls_key=b"x"), "not PEM"),
        (secret(ca_crt=b"x"), "not PEM"),
        (secret(tls_crt=b"\xff"), "tls.crt is not PEM"),
        (secret(tls_key=OTHER_KEY), "not the key of"),
        ({**secret(), "data": None}, "missing"),
        (secret(kind="Opaque"), "of type 'Opaque'; make one of type kubernetes.io/tls"),
        (secret(ca_crt=b"x" * 70_000), "more than 65,536 characters"),
        ({**secret(), "data": {"tls.crt": "!"}}, "tls.crt is not PEM"),
    ],
)
def test_a_secret_that_cannot_serve_is_refused_without_a_word_of_its_key(found: Object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        decode_credential(found)
    assert "PRIVATE" not in str(refused.value)
