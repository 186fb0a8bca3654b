"""RequestAddons: from YAML to what a sidecar decodes, for whom they are meant and for nobody else."""

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from control.api import SourceFile, parse
from control.generate import TYPES, generate
from sidecar.config.addon import Addon
from sidecar.config.listener import Listener as Decoded
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.control.translate.bookinfo import mesh, proxy

RULE = """
apiVersion: inspect.remora.dev/v1
kind: RequestAddon
metadata: {name: rewrite, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  direction: inbound
  match:
    path: /reviews/*
    methods: [GET]
    hosts: ["Reviews*"]
    headers: {X-Team: "b*"}
    routes: [default]
  script: rewrite.py
  timeout: 250ms
  onFailure: open
  maxBodyBytes: 1000
  sample: 12.5
"""
SHORTEST = """
apiVersion: inspect.remora.dev/v1
kind: RequestAddon
metadata: {name: all}
spec: {script: log.py}
"""


def addons(rules: str, name: str) -> dict[str, tuple[Addon, ...]]:
    """By listener, as the proxy's sidecar understands them."""
    found = {}
    for listener, packed in generate(mesh(rules), proxy(name)).resources[TYPES["LDS"]].items():
        decoded = decode(Kind.LDS, packed).value
        assert isinstance(decoded, Decoded)
        found[listener] = tuple(a for chain in decoded.filter_chains if chain.http for a in chain.http.addons)
    return found


def test_everything_that_a_rule_says_reaches_the_sidecar() -> None:
    expected = Addon(
        name="default/rewrite",
        script="rewrite.py",
        path="/reviews/*",
        methods=("GET",),
        hosts=("reviews*",),
        headers=(("x-team", "b*"),),
        routes=("default",),
        sample_percent=12.5,
        timeout_s=0.25,
        fail_open=True,
        max_body_bytes=1000,
    )
    found = addons(RULE, "reviews-v1")
    assert set(found["virtualInbound"]) == {expected}
    assert found["virtualOutbound"] == ()


def test_only_the_selected_workloads_have_it() -> None:
    assert addons(RULE, "ratings-v1")["virtualInbound"] == ()
    assert addons(RULE.replace("namespace: default", "namespace: other"), "reviews-v1")["virtualInbound"] == ()


def test_defaults_are_careful() -> None:
    (addon, *_) = addons(SHORTEST, "ratings-v1")["virtualInbound"]
    assert addon == Addon("default/all", "log.py")
    assert (addon.fail_open, addon.timeout_s, addon.max_body_bytes) == (False, 0.5, 65536)


def test_directions() -> None:
    outbound = SHORTEST.replace("{script", "{direction: outbound, script")
    found = addons(outbound, "ratings-v1")
    assert found["virtualInbound"] == ()
    assert len(found["virtualOutbound"]) == 1
    gateway = SHORTEST.replace("{name: all}", "{name: all, namespace: istio-system}")
    gateway = gateway.replace("{script", "{direction: gateway, script")
    assert [len(each) for each in addons(gateway, "ingress").values()] == [1]
    assert not any(addons(gateway, "ratings-v1").values())


def test_a_proxy_that_does_not_know_the_filter_may_leave_it_out() -> None:
    packed = generate(mesh(SHORTEST), proxy("ratings-v1")).resources[TYPES["LDS"]]["virtualInbound"]
    listener = Listener()
    packed.Unpack(listener)
    manager = HttpConnectionManager()
    listener.filter_chains[0].filters[0].typed_config.Unpack(manager)
    names = [(each.name, each.is_optional) for each in manager.http_filters]
    assert names == [
        ("envoy.filters.http.fault", False),
        ("remora.filters.http.addon", True),
        ("envoy.filters.http.router", False),
    ]


def test_a_rule_of_another_namespace_changes_nothing() -> None:
    other = SHORTEST.replace("{name: all}", "{name: all, namespace: other}")
    assert not any(addons(other, "ratings-v1").values())


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ("{}", "spec.script", "is required"),
        ("{script: ../evil.py}", "spec.script", "write the name of a .py file"),
        ("{script: /etc/evil.py}", "spec.script", "write the name of a .py file"),
        ("{script: a.sh}", "spec.script", "write the name of a .py file"),
        ("{script: a.py, timeout: 1}", "spec.timeout", "write a duration"),
        ("{script: a.py, timeout: 60s}", "spec.timeout", "a request waits 30s at most"),
        ("{script: a.py, timeout: 0s}", "spec.timeout", "write at least 1ms"),
        ("{script: a.py, onFailure: maybe}", "spec.onFailure", "'maybe'"),
        ("{script: a.py, direction: sideways}", "spec.direction", "'sideways'"),
        ("{script: a.py, maxBodyBytes: -1}", "spec.maxBodyBytes", "-1"),
        ("{script: a.py, sample: 101}", "spec.sample", "101"),
        ("{script: a.py, match: {path: reviews}}", "spec.match.path", "write how the path begins"),
        ("{script: a.py, match: {methods: [G T]}}", "spec.match.methods[0]", "is no method"),
        ("{script: a.py, match: {headers: {a b: c}}}", "spec.match.headers", "is not a header name"),
        ("{script: a.py, match: {status: 5xx}}", "spec.match.status", "unknown field"),
        ("{script: a.py, retries: 3}", "spec.retries", "unknown field"),
    ],
)
def test_what_can_not_be_is_refused_with_its_path(spec: str, path: str, message: str) -> None:
    text = f"apiVersion: inspect.remora.dev/v1\nkind: RequestAddon\nmetadata: {{name: a}}\nspec: {spec}\n"
    parsed = parse([SourceFile("a.yaml", text)])
    assert not parsed.ok
    assert [each.path.startswith(path) for each in parsed.violations] == [True], parsed.violations
    assert message in parsed.violations[0].message
