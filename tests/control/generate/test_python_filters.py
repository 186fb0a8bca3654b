"""PythonFilter from YAML to the sidecar: mistakes are found where they stand, the rest arrives as it was meant."""

import json
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from control.analyze import analyze
from control.api import World
from control.generate import Snapshot, generate
from control.generate.python_filters import for_envoy
from control.generate.types import LDS
from sidecar.config.listener import Http
from sidecar.config.listener import Listener as DecodedListener
from sidecar.config.python_filter import FilterMatch, PythonFilter
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.control.translate.bookinfo import mesh, parsed, proxy, rule, world

SOURCE = """\
from sidecar.filters.api import Filter

class Check(Filter):
    def on_request(self, request):
        pass
"""


def python_filter(name: str = "check", *, source: str = SOURCE, namespace: str = "default", **fields: Any) -> str:
    block = "".join(f"    {line}\n" for line in source.splitlines())
    plain = {"class": "Check", **{key: value for key, value in fields.items() if value is not None}}
    more = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in plain.items())
    return (
        "apiVersion: extensions.remora.dev/v1alpha1\nkind: PythonFilter\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{more}  source: |\n{block}"
    )


def managers(snapshot: Snapshot, listener: str) -> list[HttpConnectionManager]:
    message = Listener()
    assert snapshot.resources[LDS][listener].Unpack(message)
    found = []
    for chain in message.filter_chains:
        manager = HttpConnectionManager()
        if chain.filters[0].typed_config.Unpack(manager):
            found.append(manager)
    return found


def names(snapshot: Snapshot, listener: str) -> list[str]:
    return [each.name for each in managers(snapshot, listener)[0].http_filters]


def decoded(snapshot: Snapshot, listener: str) -> Http:
    value = decode(Kind.LDS, snapshot.resources[LDS][listener]).value
    assert isinstance(value, DecodedListener)
    http = value.chains[0].http
    assert http is not None
    return http


def findings(*texts: str, over: World | None = None) -> list[str]:
    rules = parsed(*texts)
    return [str(v) for v in (*rules.violations, *analyze(over or world(), rules))]


# what arrives


def test_the_sidecar_understands_what_is_generated_for_it() -> None:
    text = python_filter(
        selector={"matchLabels": {"app": "reviews"}},
        match={"hosts": ["reviews"], "routes": ["default"], "pathPrefixes": ["/reviews"]},
        config={"b": 1, "a": [2.5, None, "ü"]},
        timeout="250ms",
        failurePolicy="FAIL_OPEN",
        maxBodyBytes=1000,
        phase="AUTHZ",
    )
    snapshot = generate(mesh(text), proxy("reviews-v2"))
    http = decoded(snapshot, "virtualInbound")
    assert http.filters == (
        PythonFilter(
            name="default/check",
            source=SOURCE,
            class_name="Check",
            config='{"a": [2.5, null, "\\u00fc"], "b": 1}',
            match=FilterMatch(
                hosts=("reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"),
                routes=("default",),
                path_prefixes=("/reviews",),
            ),
            timeout_s=0.25,
            fail_open=True,
            max_body_bytes=1000,
            after_fault=False,
        ),
    )
    assert decoded(snapshot, "virtualOutbound").filters == ()
    assert decoded(generate(mesh(text), proxy("ratings-v1")), "virtualInbound").filters == ()


def test_phases_and_priorities_say_the_order() -> None:
    texts = [
        python_filter("late"),
        python_filter("stats", phase="STATS"),
        python_filter("low", phase="AUTHN", priority=-1),
        python_filter("high", phase="AUTHN", priority=5),
        python_filter("early-late", priority=1),
    ]
    snapshot = generate(mesh(*texts), proxy("reviews-v1"))
    ours = "remora.filters.http.python/default/"
    assert names(snapshot, "virtualInbound") == [
        f"{ours}high", f"{ours}low", f"{ours}stats", "envoy.filters.http.fault", f"{ours}early-late", f"{ours}late",
        "envoy.filters.http.router",
    ]  # fmt: skip
    assert [each.name for each in decoded(snapshot, "virtualInbound").filters] == [
        "default/high", "default/low", "default/stats", "default/early-late", "default/late",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "inbound", "outbound"),
    [("INBOUND", True, False), ("OUTBOUND", False, True), ("ANY", True, True), (None, True, False)],
)
def test_directions(direction: str | None, inbound: bool, outbound: bool) -> None:
    snapshot = generate(mesh(python_filter(direction=direction)), proxy("reviews-v1"))
    assert bool(decoded(snapshot, "virtualInbound").filters) is inbound
    assert bool(decoded(snapshot, "virtualOutbound").filters) is outbound


def test_a_gateways_requests_come_in_and_rules_of_a_root_namespace_are_for_all() -> None:
    near = python_filter(namespace="istio-system", selector={"matchLabels": {"istio": "ingressgateway"}})
    assert decoded(generate(mesh(near), proxy("ingress")), "127.0.0.1_18080").filters
    assert not decoded(generate(mesh(near), proxy("reviews-v1")), "virtualInbound").filters
    everywhere = python_filter(namespace="remora-system")
    assert decoded(generate(mesh(everywhere), proxy("reviews-v1")), "virtualInbound").filters
    elsewhere = python_filter(namespace="other")
    assert not decoded(generate(mesh(elsewhere), proxy("reviews-v1")), "virtualInbound").filters


def test_more_than_a_sidecar_takes_is_a_problem_and_not_a_push() -> None:
    with pytest.raises(ValueError, match="17 PythonFilters select it; at most 16"):
        generate(mesh(*(python_filter(f"f{at}") for at in range(17))), proxy("reviews-v1"))


def test_a_real_envoy_never_hears_of_them_and_lets_nothing_past_one_that_fails_closed() -> None:
    open_ = python_filter("o", failurePolicy="FAIL_OPEN")
    snapshot = for_envoy(generate(mesh(open_), proxy("reviews-v1")))
    assert names(snapshot, "virtualInbound") == ["envoy.filters.http.fault", "envoy.filters.http.router"]
    assert snapshot.hash == generate(mesh(), proxy("reviews-v1")).hash
    snapshot = for_envoy(generate(mesh(open_, python_filter("c")), proxy("reviews-v1")))
    assert names(snapshot, "virtualInbound") == [
        "envoy.filters.http.rbac", "envoy.filters.http.fault", "envoy.filters.http.router",
    ]  # fmt: skip
    assert all(b"remora.filters" not in packed.value for packed in snapshot.resources[LDS].values())
    plain = generate(mesh(), proxy("reviews-v1"))
    assert for_envoy(plain) is plain


# mistakes


def test_a_rule_without_fault_has_no_findings() -> None:
    assert findings(python_filter()) == []


@pytest.mark.parametrize(
    ("fields", "line", "path", "why"),
    [
        pytest.param({"class": "1x"}, 5, "spec.class", "not the name of a class", id="no name"),
        pytest.param({"file": "/x.py"}, 4, "spec", "either source", id="both texts"),
        pytest.param({"sha256": "a" * 64}, 4, "spec", "sha256 without file", id="a digest of nothing"),
        pytest.param({"timeout": "61s"}, 6, "spec.timeout", "longer than 60s", id="too patient"),
        pytest.param({"timeout": 5}, 6, "spec.timeout", "250ms", id="no unit"),
        pytest.param({"failurePolicy": "OPEN"}, 6, "spec.failurePolicy", "did you mean FAIL_OPEN", id="policy"),
        pytest.param({"phase": "AUTH"}, 6, "spec.phase", "one of AUTHN", id="phase"),
        pytest.param({"maxBodyBytes": 1 << 30}, 6, "spec.maxBodyBytes", "at most", id="too much"),
        pytest.param({"config": {"x": "y" * 20_000}}, 6, "spec.config", "16,384", id="a config too long"),
        pytest.param({"config": []}, 6, "spec.config", "mapping", id="no mapping"),
        pytest.param({"match": {"pathPrefixes": ["x"]}}, 6, "spec.match.pathPrefixes[0]", "not a path", id="path"),
        pytest.param({"match": {"host": ["x"]}}, 6, "spec.match.host", "did you mean hosts", id="a misspelt field"),
        pytest.param({"failurePolicies": 1}, 6, "spec.failurePolicies", "failurePolicy", id="another one"),
    ],
)
def test_mistakes_are_told_with_line_and_field(fields: dict[str, Any], line: int, path: str, why: str) -> None:
    (finding,) = findings(python_filter(**fields))
    assert finding.startswith(f"rules0.yaml:{line}: PythonFilter/check: {path}: "), finding
    assert why in finding


def test_a_source_too_long_is_refused() -> None:
    (finding,) = findings(python_filter(source="#" * 70_000))
    assert "a filter has at most 65,536" in finding


@pytest.mark.parametrize(
    ("source", "line", "why"),
    [
        pytest.param(SOURCE.replace("pass", "if"), 11, "spec.source: is not Python: line 5: invalid", id="syntax"),
        pytest.param(SOURCE + "\n\nx = (", 14, "is not Python: line 8: '(' was never closed", id="the end"),
        pytest.param("\n\nclass Check(:", 9, "is not Python: line 3", id="behind empty lines"),
        pytest.param(SOURCE.replace("on_request", "on_requset"), 10, "no hook; did you mean on_request?", id="a hook"),
        pytest.param(SOURCE.replace("Check", "Cheque"), 5, "spec.class: is Check, a class that", id="another class"),
        pytest.param("(" * 5000, 7, "is not Python", id="parentheses"),
    ],
)
def test_code_is_looked_at_and_its_lines_are_the_files(source: str, line: int, why: str) -> None:
    (finding,) = findings(python_filter(source=source))
    assert finding.startswith(f"rules0.yaml:{line}: PythonFilter/check: "), finding
    assert why in finding


def test_code_in_a_quoted_text_is_told_by_its_own_line() -> None:
    text = rule("X", "check", 'class: Check\nsource: "x = 1\\ny = ("')
    text = text.replace("networking.istio.io/v1", "extensions.remora.dev/v1alpha1").replace(
        "kind: X", "kind: PythonFilter"
    )
    (finding,) = findings(text)
    assert finding.startswith("rules0.yaml:7: PythonFilter/check: spec.source: is not Python: line 2")


def test_a_selector_that_finds_nobody_is_a_warning() -> None:
    (finding,) = findings(python_filter(selector={"matchLabels": {"app": "nobody"}}))
    assert "spec.selector: warning: selects no workload" in finding
