"""REMORA_APP_PROBES."""

import json
from typing import Any

import pytest

from sidecar.agent.app_probe_specs import WrongProbe, parse_probes
from sidecar.pod import AppProbe, GrpcHealth, HttpGet, TcpSocket

LIVE = "/app-health/web/livez"
HOOK = "/app-lifecycle/web/0123456789abcdef/prestopz"


def probe(spec: Any, path: str = LIVE) -> AppProbe:
    (made,) = parse_probes(json.dumps({path: spec}))
    return made


def test_every_form_is_understood() -> None:
    http = {
        "path": "live?deep=1",
        "port": 8443,
        "host": "web.example",
        "scheme": "HTTPS",
        "httpHeaders": [{"name": "X-Key", "value": "k"}, {"name": "Host", "value": "inner"}],
    }
    assert probe({"httpGet": http, "timeoutSeconds": 7}) == AppProbe(
        LIVE, HttpGet(8443, "/live?deep=1", "web.example", True, (("X-Key", "k"), ("Host", "inner"))), 7.0
    )
    assert probe({"httpGet": {"port": 80}}) == AppProbe(LIVE, HttpGet(80, "/"), 1.0)
    assert probe({"tcpSocket": {"port": 6379, "host": None}}) == AppProbe(LIVE, TcpSocket(6379), 1.0)
    assert probe({"tcpSocket": {"port": 6379, "host": "FD00::1"}}) == AppProbe(LIVE, TcpSocket(6379, "fd00::1"), 1.0)
    assert probe({"grpc": {"port": 9000, "service": "a.B"}}) == AppProbe(LIVE, GrpcHealth(9000, "a.B"), 1.0)
    assert probe({"grpc": {"port": 9000}, "timeoutSeconds": 0}) == AppProbe(LIVE, GrpcHealth(9000), 1.0)


def test_a_hook_has_the_time_that_the_kubelet_gives_it() -> None:
    made = probe({"httpGet": {"port": 80}}, HOOK)
    assert (made.timeout_s, made.shown) == (600.0, "/app-lifecycle/web/prestopz")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({}, "has no action", id="nothing"),
        pytest.param({"httpGet": {"port": 1}, "grpc": {"port": 1}}, "httpGet and grpc", id="two actions"),
        pytest.param({"exec": {"command": ["true"]}}, "has no action", id="a command"),
        pytest.param({"httpGet": {"port": "http"}}, ".httpGet.port: is 'http'; write its number", id="a port's name"),
        pytest.param({"httpGet": {"port": 0}}, ".httpGet.port", id="port 0"),
        pytest.param({"httpGet": {"port": True}}, ".httpGet.port", id="a truth value for a port"),
        pytest.param({"httpGet": {}}, ".httpGet.port: is None", id="no port"),
        pytest.param({"httpGet": {"port": 1, "scheme": "http"}}, ".httpGet.scheme", id="scheme in lower case"),
        pytest.param({"httpGet": {"port": 1, "path": "/a\r\nX: y"}}, ".httpGet.path", id="line ends in the path"),
        pytest.param({"httpGet": {"port": 1, "host": "a b"}}, ".httpGet.host", id="host with a space"),
        pytest.param({"httpGet": {"port": 1, "verify": 1}}, ".httpGet.verify: is not supported", id="unknown field"),
        pytest.param(
            {"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "b\r\nc: d"}]}},
            ".httpGet.httpHeaders[0].value",
            id="line ends in a header",
        ),
        pytest.param(
            {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}, ".httpHeaders[0].name", id="header's name"
        ),
        pytest.param({"httpGet": {"port": 1, "httpHeaders": {}}, "x": 1}, ".x: is not supported", id="beside it"),
        pytest.param({"tcpSocket": []}, ".tcpSocket: is no object", id="a list"),
        pytest.param({"grpc": {"port": 1}, "timeoutSeconds": -1}, ".timeoutSeconds: is -1", id="negative time"),
        pytest.param({"grpc": {"port": 1}, "timeoutSeconds": 4000}, "1 to 3600", id="more than an hour"),
        pytest.param({"grpc": {"port": 1}, "timeoutSeconds": "1"}, ".timeoutSeconds", id="time as text"),
        pytest.param("x", "is no object", id="no object"),
    ],
)
def test_what_is_malformed_is_refused_by_its_path(spec: Any, message: str) -> None:
    with pytest.raises(WrongProbe) as raised:
        probe(spec)
    assert str(raised.value).startswith(f'["{LIVE}"]')
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is no JSON", id="no JSON"),
        pytest.param("[]", "is no JSON object", id="a list"),
        pytest.param('{"/metrics": {"grpc": {"port": 1}}}', "is not /app-health/", id="another path"),
        pytest.param('{"/app-health/a/b/livez": {}}', "is not /app-health/", id="two segments"),
        pytest.param('{"/app-health/a/readyz2": {}}', "is not /app-health/", id="unknown probe"),
        pytest.param(json.dumps({HOOK: {"grpc": {"port": 1}}}), ".grpc: is no lifecycle hook", id="gRPC hook"),
        pytest.param('{"/app-lifecycle/a/prestopz": {"httpGet": {"port": 1}}}', "with a KEY of", id="a hook for all"),
        pytest.param('{"/app-lifecycle/a/short/prestopz": {"httpGet": {"port": 1}}}', "a KEY of", id="a short key"),
        pytest.param("[" * 100_000, "nested too deep", id="deep lists"),
        pytest.param('{"/app-health/a/livez":' * 100_000, "nested too deep", id="deep objects"),
        pytest.param('{"/app-health/a/livez": {"grpc": {"port": 1, "port": 2}}}', "given twice", id="a key twice"),
        pytest.param(
            json.dumps({f"/app-health/c{n}/livez": {"grpc": {"port": 1}} for n in range(257)}), "at most 256", id="many"
        ),
    ],
)
def test_what_is_no_set_of_probes_is_refused(text: str, message: str) -> None:
    with pytest.raises(WrongProbe) as raised:
        parse_probes(text)
    assert message in str(raised.value)
