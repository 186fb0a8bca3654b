"""Another cluster's kubeconfig leads there, runs nothing, reads no file, and is never repeated in messages."""

import base64
import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ClusterUnusable
from control.kubernetes.remote import MAX_BYTES, read_kubeconfig
from control.kubernetes.resources import ApiResource
from mesh.clock import SystemClock
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.kubeconfigs import kubeconfig, serving_files

AUTHORITY, _, _ = serving_files("127.0.0.1")
GOOD = kubeconfig("https://192.0.2.1:6443", "s3cret", AUTHORITY)


def test_a_token_is_what_is_shown() -> None:
    cluster = read_kubeconfig(orjson.dumps(GOOD))
    assert cluster.host == "https://192.0.2.1:6443"
    assert cluster.tls is not None


async def test_it_leads_to_the_cluster_that_it_names() -> None:
    async with FakeApiServer(tls=True) as server:
        client = KubeClient(read_kubeconfig(orjson.dumps(server.kubeconfig())), SystemClock())
        try:
            assert (await client.get(ApiResource("", "v1", "namespaces", False), "default"))["kind"] == "Namespace"
        finally:
            await client.close()


def _user(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["users"][0]["user"].update(changes)


def _cluster(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["clusters"][0]["cluster"].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(_user(exec={"command": "/bin/sh"}), "user has 'exec'", id="a command to run"),
        pytest.param(_user(tokenFile="/etc/shadow"), "user has 'tokenFile'", id="a file of ours to send"),
        pytest.param({"auth-provider": {}}, "user has 'auth-provider'", id="a provider"),
        pytest.param(_user(**{"client-key": "/k"}), "user has 'client-key'", id="a key of ours"),
        pytest.param(_cluster(**{"insecure-skip-tls-verify": True}), "has 'insecure-skip-tls-verify'", id="no trust"),
        pytest.param(_cluster(**{"proxy-url": "http://x"}), "has 'proxy-url'", id="a detour"),
        pytest.param(_cluster(server="http://192.0.2.1"), "must be https", id="no TLS"),
        pytest.param(_cluster(server="file:///etc"), "must be https", id="no server"),
        pytest.param(_cluster(server="https://[::1"), "is no URL", id="a bracket too few"),
        pytest.param(_cluster(server="https://a:99999"), "is no URL", id="a port that is none"),
        pytest.param(_cluster(server="https://s3cret:s3cret@a"), "has a user name", id="a password in the address"),
        pytest.param(_cluster(server="https://a/\r\nb"), "characters that", id="a line end"),
        pytest.param(_cluster(server="https://a/?b=/api"), "characters that", id="a query"),
        pytest.param(_cluster(server="https://.."), "no name and no address", id="a host that is none"),
        pytest.param(_cluster(server="https://169.254.169.254"), "a cloud's credentials", id="metadata of a cloud"),
        pytest.param(_cluster(server="https://[::ffff:169.254.169.254]"), "a cloud's", id="the same in IPv6"),
        pytest.param(_cluster(server="https://[fe80::1]:6443"), "a cloud's", id="a neighbour"),
        pytest.param(_cluster(**{"tls-server-name": "."}), "tls-server-name is no host", id="a name that is none"),
        pytest.param(_cluster(**{"certificate-authority-data": "!"}), "is not base64", id="no base64"),
        pytest.param(
            _cluster(**{"certificate-authority-data": base64.b64encode(b"x").decode()}), "no PEM", id="no certificate"
        ),
        pytest.param(_user(token=""), "needs a token", id="no credentials"),
        pytest.param(_user(token="a\r\nHost: b"), "characters that no token has", id="a token with a line end"),
        pytest.param(
            _user(token="", **{"client-certificate-data": "eA=="}), "needs a token, or", id="a certificate without key"
        ),
        pytest.param(
            _user(token="", **{"client-certificate-data": "eA==", "client-key-data": "eA=="}),
            "do not go together",
            id="a certificate that is none",
        ),
        pytest.param(lambda config: config.update(contexts=[]), "has no context", id="no context"),
        pytest.param(lambda config: config.update({"current-context": "b"}), "has no context", id="another context"),
        pytest.param(lambda config: config.update(users="x"), "has no user", id="no user"),
    ],
)
def test_what_it_may_not_say_is_refused_by_name(change: Any, said: str) -> None:
    config = copy.deepcopy(GOOD)
    if callable(change):
        change(config)
    else:
        config["users"][0]["user"].update(change)
    with pytest.raises(ClusterUnusable, match=said) as refused:
        read_kubeconfig(orjson.dumps(config))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff\xfe\x00", b"a: [", b"x" * (MAX_BYTES + 1), b"&a [*a, *a]", b"[" * 5000]
)
def test_what_is_no_kubeconfig_is_refused(text: bytes) -> None:
    with pytest.raises(ClusterUnusable):
        read_kubeconfig(text)
