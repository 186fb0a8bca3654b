"""Objects that no API server should send are told to be none, or taken for what they can be, and end nothing."""

import copy
import gc
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.kinds import KINDS
from control.api.workload import Workload
from control.api.world import World
from control.ir.settings import MeshSettings
from control.kubernetes.reflector import UNREADABLE
from control.kubernetes.status import reported
from control.stores.kubernetes.credentials import decode_credential
from control.stores.kubernetes.namespaces import decode_namespace
from control.stores.kubernetes.others import decode_secret
from control.stores.kubernetes.rules import RuleDecoder, kinds
from control.xds.plan import Plan
from control.xds.planner import plan_of
from tests.control.app.control_process import workload
from tests.control.stores.kubernetes.test_registry import DECODE, Cluster
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, namespace, node, pod, rule, service

JOB = {**pod("job", "10.0.0.9"), "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "args": ["x"]}]}}
VALID = [
    pod("p", "10.0.0.1", "fd00::1", labels={"app": "a"}, owner=("ReplicaSet", "r")),
    JOB,
    node("node-1", "eu", "eu-1"),
    service("web", {"name": "http", "port": 80, "appProtocol": "http"}, ipFamilies=["IPv4"]),
    endpoint_slice("web-1", "web", endpoint("10.0.0.1", "p", hints={"forZones": [{"name": "z"}]})),
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "x", "http", "10.0.0.2", "::1", "TCP", "Pod", "\x00", "é" * 300]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "port", "ip", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for step, inner in items:
        yield from places(inner, (*path, step))


@st.composite
def spoilt(draw: st.DrawFn, valid: list[Object]) -> Object:
    found = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from([p for p in places(found) if p[0] != "kind" and p != ("metadata",)]))
        parent = found
        try:
            for step in where[:-1]:
                parent = parent[step]
            parent[where[-1]] = draw(json_values)
        except (TypeError, KeyError, IndexError):
            continue
    return found


@given(st.lists(spoilt(VALID), max_size=4))
def test_a_registry_survives_whatever_objects_say(objects: list[Object]) -> None:
    cluster = Cluster(*VALID)
    for found in objects:
        name = found["metadata"]["name"] if isinstance(found["metadata"], dict) else None
        if not isinstance(name, str) or not isinstance(found["metadata"].get("namespace", ""), str):
            continue  # a reflector takes no notice of what has no name
        try:
            after = DECODE[found["kind"]](found)
        except UNREADABLE:
            continue
        cluster._tell(found, after)
        cluster.take()
    cluster.put(*VALID)
    assert "10.0.0.1:8080" in cluster.behind("web"), "what is right again is served again"


SECRET: Object = {
    "kind": "Secret",
    "metadata": {"name": "c", "labels": {"remora.io/cluster": "c"}},
    "type": "kubernetes.io/tls",
}
OTHERS: list[tuple[Callable[[Any], object], Object]] = [
    (decode_namespace, namespace("n", a="b")),
    (decode_secret, {**SECRET, "data": {"kubeconfig": ""}}),
    (decode_credential, {**SECRET, "data": {"tls.crt": "", "tls.key": "eA=="}}),
    *(
        (RuleDecoder(kind).decode, rule(kind.name, "r", {"hosts": ["a"]}, labels={"a": "b"}, generation=3))
        for kind, _ in kinds()
    ),
]  # fmt: skip


@pytest.mark.parametrize(("decode", "valid"), OTHERS, ids=[str(index) for index in range(len(OTHERS))])
@given(data=st.data())
def test_every_decoder_says_what_is_none_of_its_kind_and_nothing_worse(
    decode: Callable[[Any], object], valid: Object, data: st.DataObject
) -> None:
    try:
        decode(data.draw(spoilt([valid])))
    except UNREADABLE:
        pass


@given(json_values)
def test_a_status_is_anybodys_text(found: Any) -> None:
    for status in (
        found,
        {"conditions": found},
        {"conditions": [found]},
        {"conditions": [{"type": "Accepted", **_dict(found)}]},
    ):
        assert all(isinstance(each.message, str) for each in reported({"status": status}).conditions)


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


ROUTE: list[Object] = [{"destination": {"host": "reviews"}}]
LONGEST_S = 0.25
"""Of processor time, for what is done with one rule while nothing else is."""


def virtual_service(hosts: int, routes: int, matches: int, match: Object) -> Object:
    http = [{"match": [match] * matches, "route": ROUTE} for _ in range(routes)]
    made = rule("VirtualService", "big", {"hosts": [f"h{n}.example.com" for n in range(hosts)], "http": http})
    found: Object = json.loads(json.dumps(made))
    return found


class Cpu:
    """What a block costs its own thread: without what others do meanwhile, and without this process's garbage, of which
    a test that runs behind thousands of others has much."""

    def __enter__(self) -> "Cpu":
        gc.collect()
        gc.disable()
        self._began = time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.thread_time() - self._began
        gc.enable()


def nested(depth: int) -> Object:
    found: Object = {}
    for _ in range(depth):
        found = {"http": found}
    return found


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (virtual_service(1, 256, 64, {"uri": {"exact": "/a"}}), "more than 50000 values"),
        (virtual_service(256, 256, 16, {"port": 80}), "entries of routing tables"),
        (virtual_service(2, 100, 64, {"uri": {"exact": "/a"}}), "entries of routing tables"),
        (virtual_service(1, 64, 64, {"port": 80, "gateways": ["a", "b"]}), "tests in its conditions"),
        (rule("VirtualService", "deep", nested(60)), "nested too deeply"),
        (rule("VirtualService", "deep", nested(950)), "nested too deeply"),
    ],
    ids=["values", "entries", "fewer entries", "tests", "levels", "as many levels as a watch carries"],
)
def test_a_rule_that_is_too_much_is_refused_by_name_and_soon(found: Object, said: str) -> None:
    decoder = RuleDecoder(KINDS["VirtualService"])
    with Cpu() as cpu:
        for _ in range(2):  # an event of its status is the same again
            decoded = decoder.decode(found)
            assert decoded is not None
            assert decoded.resource is None
            assert said in decoded.violations[0].message
            assert decoded.violations[0].name == found["metadata"]["name"]
    assert cpu.seconds < 2 * LONGEST_S


@pytest.mark.parametrize(("depth", "shown"), [(60, "http: {}"), (950, "# nested too deeply to be shown")])
def test_a_rule_that_is_nested_too_deeply_has_a_text_all_the_same(depth: int, shown: str) -> None:
    decoded = RuleDecoder(KINDS["VirtualService"]).decode(rule("VirtualService", "deep", nested(depth)))
    assert decoded is not None
    assert shown in decoded.text()


def test_an_etag_is_another_for_what_a_person_changes_and_the_same_for_a_status() -> None:
    def etag(**metadata: Any) -> str:
        found = rule("VirtualService", "a", {"hosts": ["a"]})
        found["metadata"] |= {"uid": "u", "generation": 1, "resourceVersion": "1"} | metadata
        decoded = RuleDecoder(KINDS["VirtualService"]).decode(found)
        assert decoded is not None
        return decoded.etag

    theirs = [{"generation": 2}, {"uid": "v"}, {"labels": {"a": "b"}}, {"annotations": {"a": "b"}}]
    assert len({etag(), *(etag(**each) for each in theirs)}) == 5
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    assert etag(resourceVersion="2", annotations=applied) == etag()


@pytest.mark.parametrize(
    "found",
    [
        virtual_service(1, 64, 64, {"uri": {"prefix": "/a"}, "port": 80}),
        virtual_service(256, 16, 1, {"uri": {"prefix": "/a"}, "port": 80}),
        virtual_service(1, 128, 32, {"uri": {"regex": "/a/.*"}, "method": {"exact": "GET"}}),
    ],
    ids=["conditions", "hosts", "regexes"],
)
def test_the_largest_rules_do_not_hold_the_control_plane_up(found: Object) -> None:
    with Cpu() as decoding:
        decoded = RuleDecoder(KINDS["VirtualService"]).decode(found)
    assert decoded is not None
    assert decoded.resource is not None, decoded.violations
    assert decoding.seconds < LONGEST_S
    world = World().with_workload(Workload.model_validate(workload("reviews-v1", 1)))
    world = world.with_resources([decoded.resource])
    with Cpu() as planning:
        plan = plan_of("1", world, MeshSettings(root_pem="root"), Plan())
    assert planning.seconds < 8 * LONGEST_S, "it has a thread, and takes as long as its entries"
    assert plan.problems == ()
