"""However a cluster came to be what it is, its services and workloads are the same; what no change touches stays."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.control.stores.kubernetes.test_registry import Cluster
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, node, pod, service

PODS, SERVICES, SLICES, NODES = ["p1", "p2", "p3"], ["s1", "s2"], ["e1", "e2", "e3"], ["n1", "n2"]
ADDRESS = {"p1": "10.0.0.1", "p2": "10.0.0.2", "p3": "10.0.0.3", "": "192.0.2.1"}
CONDITIONS: list[Object] = [{"ready": True}, {"ready": False}, {"ready": False, "serving": True, "terminating": True}]

a_pod = st.builds(
    lambda name, labels, on, meshed, addressed, gateway: _pod(name, labels, on, meshed, addressed, gateway),
    st.sampled_from(PODS),
    st.sampled_from([{}, {"v": "1"}, {"v": "2"}]),
    st.sampled_from([*NODES, "gone"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
a_service = st.builds(
    lambda name, ports, headless: service(name, *ports, addresses=() if headless else ("10.96.0.1",)),
    st.sampled_from(SERVICES),
    st.sampled_from([
        ({"name": "http", "port": 80},),
        ({"name": "http", "port": 80}, {"name": "grpc", "port": 90}),
        ({"name": "http", "port": 81},),
    ]),
    st.booleans(),
)  # fmt: skip
a_slice = st.builds(
    lambda name, of, members, ports: endpoint_slice(name, of, *members, ports=ports),
    st.sampled_from(SLICES),
    st.sampled_from(SERVICES),
    st.lists(
        st.builds(
            lambda target, conditions, zone: endpoint(
                ADDRESS[target],
                target,
                conditions=conditions,
                nodeName="n1",
                hints={"forZones": [{"name": zone}]} if zone else {},
            ),
            st.sampled_from([*PODS, ""]),
            st.sampled_from(CONDITIONS),
            st.sampled_from(["", "z1"]),
        ),
        max_size=3,
    ),
    st.sampled_from([{"http": 8080}, {"http": 9090}, {"http": 8080, "grpc": 9000}]),
)
a_node = st.builds(node, st.sampled_from(NODES), st.sampled_from(["", "eu"]), st.sampled_from(["", "z1"]))
a_change = st.tuples(st.one_of(a_pod, a_service, a_slice, a_node), st.sampled_from([True, True, False]))


def _pod(name: str, labels: dict[str, str], on: str, meshed: bool, addressed: bool, gateway: bool) -> Object:
    made = pod(name, *([ADDRESS[name]] if addressed else []), labels=labels, node=on, meshed=meshed)
    if gateway:
        made["spec"]["containers"][0] |= {"name": "remora-proxy", "args": ["--kind=gateway"]}
    return made


def key(found: Object) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


@given(st.lists(a_change, max_size=25))
def test_any_way_to_a_cluster_leads_to_the_same_registry(changes: list[tuple[Object, bool]]) -> None:
    grown, final = Cluster(), dict[tuple[str, str], Object]()
    for found, there in changes:
        before: dict[str, dict[Any, Any]] = {"s": dict(grown.services), "w": dict(grown.workloads)}
        if there:
            final[key(found)] = found
            said = grown.put(found)
        elif final.pop(key(found), None) is not None:
            said = grown.remove(found)
        else:
            continue
        for kept, now, told in (("s", grown.services, said.services), ("w", grown.workloads, said.workloads)):
            for name, value in before[kept].items():
                assert name in told or now[name] is value
            assert all(value != before[kept].get(name) for name, value in told.items()), "what is told is another"
    anew = Cluster(*final.values())
    assert grown.services == anew.services
    assert grown.workloads == anew.workloads
