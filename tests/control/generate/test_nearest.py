"""Clients of a zone get the instances that are meant for it; one pod's change still costs one endpoint resource."""

from dataclasses import replace

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from control.generate import Snapshot, generate
from control.generate.memory import memory_of
from control.generate.types import CDS, EDS
from control.ir.address import Address
from control.ir.mesh import Mesh
from control.ir.policies import DestinationPolicy, Nearness, OutlierDetection, Subset, TrafficPolicy
from control.ir.proxy import Proxy, ProxyKind
from control.ir.services import Endpoint, Port, Service
from control.ir.settings import MeshSettings

SETTINGS = MeshSettings()
CLUSTER = "outbound|80||web.default.svc.cluster.local"


def instance(number: int, *zones: str) -> Endpoint:
    return Endpoint(Address(f"10.0.0.{number}", 8080), zones=frozenset(zones), pod=True)


def web(*instances: Endpoint, name: str = "web") -> Service:
    host = f"{name}.default.svc.cluster.local"
    return Service(host, name, "default", (Port(80),), {80: instances}, addresses=("10.96.0.10",))


def mesh(*services: Service) -> Mesh:
    return Mesh(settings=SETTINGS, services={service.host: service for service in services})


def client(zone: str) -> Proxy:
    kind = ProxyKind.SIDECAR
    return Proxy(f"sidecar~10.1.0.1~c-{zone}.default~x", kind, f"c-{zone}", "default", "spiffe://x", zone=zone)


def addresses(snapshot: Snapshot, cluster: str = CLUSTER) -> list[str]:
    loads = ClusterLoadAssignment()
    snapshot.resources[EDS][cluster].Unpack(loads)
    found = [e.endpoint.address.socket_address.address for each in loads.endpoints for e in each.lb_endpoints]
    return [each.removeprefix("10.0.0.") for each in found]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        pytest.param("z1", ["1"], id="a zone with an instance of its own"),
        pytest.param("z2", ["1", "2"], id="a zone that shares one"),
        pytest.param("z9", ["1", "2", "3"], id="a zone that nothing is meant for gets everything"),
        pytest.param("", ["1", "2", "3"], id="so does a client of whom no zone is known"),
    ],
)
def test_clients_get_what_is_meant_for_their_zone(zone: str, expected: list[str]) -> None:
    made = mesh(web(instance(1, "z1", "z2"), instance(2, "z2"), instance(3, "z3")))
    assert addresses(generate(made, client(zone))) == expected


def test_without_hints_all_zones_share_the_same_endpoints() -> None:
    made = mesh(web(instance(1), instance(2)))
    first, second = (generate(made, client(zone)) for zone in ("z1", "z2"))
    assert first.resources[EDS] is second.resources[EDS]


def test_clusters_are_the_same_for_all_zones_and_endpoints_for_those_of_one() -> None:
    made = mesh(web(instance(1, "z1"), instance(2, "z2")), web(instance(3), name="api"))
    one, same, other = (generate(made, client(zone)) for zone in ("z1", "z1", "z2"))
    assert one.resources[EDS] is same.resources[EDS]
    assert one.resources[CDS] == other.resources[CDS]
    assert one.resources[EDS].changed_since(other.resources[EDS]) == {CLUSTER}


def test_a_change_costs_its_own_service_alone() -> None:
    hinted = web(instance(1, "z1"), instance(2, "z2"))
    other = web(instance(3, "z1"), instance(4, "z2"), name="api")
    before = mesh(hinted, other)
    first = generate(before, client("z1"))
    grown = replace(other, endpoints={80: (instance(3, "z1"), instance(4, "z2"), instance(5, "z1"))})
    after = mesh(hinted, grown)
    after.parts[type(memory_of(before))] = memory_of(before).next()
    second = generate(after, client("z1"), first)
    api = CLUSTER.replace("web", "api")
    assert addresses(second, api) == ["3", "5"]
    assert second.resources[EDS].changed_since(first.resources[EDS]) == {api}
    assert second.resources[EDS].own[CLUSTER] is first.resources[EDS].own[CLUSTER]


US, US_B, EU, AP = ("us", "us-a", ""), ("us", "us-b", ""), ("eu", "eu-a", ""), ("ap", "ap-a", "")


def at(number: int, place: tuple[str, str, str], cluster: str = "here", **labels: str) -> Endpoint:
    address = Address(f"10.0.0.{number}", 8080)
    return Endpoint(address, locality=place, cluster_id=cluster, labels=labels, pod=True)


def client_at(place: tuple[str, str, str]) -> Proxy:
    return replace(client(place[1]), region=place[0], subzone=place[2])


def governed(
    nearness: Nearness | None,
    *instances: Endpoint,
    subsets: tuple[str, ...] = (),
    outlier: OutlierDetection | None = None,
) -> Mesh:
    service = web(*instances)
    versions = {each: Subset({"version": each}) for each in subsets}
    policy = DestinationPolicy(TrafficPolicy(nearness=nearness, outlier=outlier), subsets=versions)
    return replace(mesh(service), destinations={("default", service.host): policy}, parts={})


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        pytest.param([at(1, US), at(2, US_B), at(3, EU, "east")], ["1"], id="the zone's own"),
        pytest.param([at(2, US_B), at(3, EU, "east")], ["2"], id="the region's, where the zone has none"),
        pytest.param([at(3, EU, "east"), at(4, AP)], ["4", "3"], id="everyone's, where the region has none"),
        pytest.param([at(5, ("", "", "")), at(2, US_B, "east")], ["2"], id="not those of which nobody knows where"),
        pytest.param([at(1, US), at(2, US_B), at(3, EU)], ["3", "1", "2"], id="of one cluster all, without a rule"),
    ],
)
def test_of_several_clusters_the_nearest_instances_are_used(instances: list[Endpoint], expected: list[str]) -> None:
    assert addresses(generate(mesh(web(*instances)), client_at(US))) == expected


def test_the_next_ones_are_used_when_the_nearest_are_gone_and_left_when_they_are_back() -> None:
    near, far = at(1, US), at(3, EU, "east")
    first = generate(mesh(web(near, far)), client_at(US))
    gone = generate(mesh(web(far)), client_at(US), first)
    back = generate(mesh(web(near, far)), client_at(US), gone)
    assert [addresses(each) for each in (first, gone, back)] == [["1"], ["3"], ["1"]]


def test_a_rule_says_whether_nearness_counts_and_which_region_is_next() -> None:
    both = [at(1, US), at(3, EU, "east"), at(4, AP, "west")]
    assert addresses(generate(governed(Nearness(False), *both), client_at(US))) == ["4", "3", "1"]
    in_one = [at(1, US), at(2, US_B)]
    assert addresses(generate(governed(Nearness(), *in_one), client_at(US))) == ["1"]
    next_is_asia = Nearness(regions=(("us", "ap"),))
    assert addresses(generate(governed(next_is_asia, *both[1:]), client_at(US))) == ["4"]


def test_each_version_has_its_own_nearest_instances() -> None:
    made = generate(
        governed(None, at(1, US, version="v1"), at(3, EU, "east", version="v2"), subsets=("v1", "v2")), client_at(US)
    )
    assert addresses(made) == ["1"]
    assert addresses(made, CLUSTER.replace("|80||", "|80|v2|")) == ["3"], "the version is only there"


def test_clients_of_whom_no_place_is_known_get_everything() -> None:
    assert addresses(generate(mesh(web(at(1, US), at(3, EU, "east"))), client(""))) == ["3", "1"]


def priorities(snapshot: Snapshot, cluster: str = CLUSTER) -> list[list[str]]:
    loads = ClusterLoadAssignment()
    snapshot.resources[EDS][cluster].Unpack(loads)
    found: dict[int, list[str]] = {}
    for each in loads.endpoints:
        at = [e.endpoint.address.socket_address.address.removeprefix("10.0.0.") for e in each.lb_endpoints]
        found.setdefault(each.priority, []).extend(at)
    return [found[number] for number in range(len(found))]


EVERYWHERE = [at(1, US), at(2, US_B), at(3, EU), at(4, AP)]


@pytest.mark.parametrize(
    ("nearness", "expected"),
    [
        pytest.param(None, [["1"], ["2"], ["4", "3"]], id="without a word on nearness, as in Istio"),
        pytest.param(Nearness(regions=(("us", "eu"),)), [["1"], ["2"], ["3"], ["4"]], id="with a region that is next"),
        pytest.param(Nearness(False), [["4", "3", "1", "2"]], id="not where nearness does not count"),
    ],
)
def test_with_outlier_detection_all_are_told_the_nearest_first(
    nearness: Nearness | None, expected: list[list[str]]
) -> None:
    made = governed(nearness, *EVERYWHERE, outlier=OutlierDetection())
    assert priorities(generate(made, client_at(US))) == expected


def test_instances_that_are_meant_for_a_zone_are_all_that_it_gets() -> None:
    hinted = [replace(at(1, US), zones=frozenset({"us-a"})), replace(at(2, US_B), zones=frozenset({"us-b"}))]
    made = governed(None, *hinted, outlier=OutlierDetection())
    assert priorities(generate(made, client_at(US))) == [["1"]]
