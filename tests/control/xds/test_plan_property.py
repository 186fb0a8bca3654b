"""Whatever happens to a mesh, the plan made from the plan before is the one that would be made from nothing."""

from types import MappingProxyType

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from control.api.derived import derive
from control.api.parse import parse
from control.api.resource import Key, Resource
from control.api.source import SourceFile
from control.api.workload import Workload
from control.api.world import World
from control.ir.settings import MeshSettings
from control.xds.plan import Plan
from control.xds.planner import plan_of

NAMESPACES = ("one", "two")
SERVICES = ("a", "b")
NAMES = tuple(f"{service}-{number}" for service in SERVICES for number in range(2))

_SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  clusterIP: {address}
  selector: {{app: {name}}}
  ports: [{{name: {protocol}, port: {port}, targetPort: 8080}}]
"""
_OF_ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{host}]
  http: [{{match: [{{sourceLabels: {{app: {source}}}}}], route: [{{destination: {{host: {to}, subset: v1}}}}]}},
         {{route: [{{destination: {{host: {to}}}}}]}}]
"""
_OF_DESTINATION = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {host}
  trafficPolicy: {{loadBalancer: {{simple: {balancer}, localityLbSetting: {{enabled: {near}}}}}}}
  subsets: [{{name: v1, labels: {{version: {version}}}}}]
"""
_OF_PEERS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{mtls: {{mode: {mode}}}}}
"""
_OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.example.com]
  resolution: {resolution}
  endpoints: [{{address: 10.9.0.{number}}}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
"""
_GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{edge: "yes"}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}]
"""
places = st.fixed_dictionaries({"namespace": st.sampled_from(NAMESPACES), "name": st.sampled_from(SERVICES)})


def rules() -> st.SearchStrategy[str]:
    def filled(template: str, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
        return st.builds(lambda place, more: template.format(**place, **more), places, st.fixed_dictionaries(fields))

    hosts = st.sampled_from(["a", "b", "a.two", "a.one.svc.cluster.local", "b.example.com"])
    services = filled(
        _SERVICE,
        address=st.sampled_from(["10.0.0.1", "10.0.0.2", "None", "None"]),
        protocol=st.sampled_from(["http", "tcp", "grpc", "unsaid"]),
        port=st.sampled_from([80, 9000]),
    )
    return st.one_of(
        services,
        services,
        services,
        filled(_OF_ROUTES, host=hosts, to=hosts, source=st.sampled_from(SERVICES)),
        filled(
            _OF_DESTINATION,
            host=hosts,
            balancer=st.sampled_from(["RANDOM", "ROUND_ROBIN"]),
            near=st.sampled_from(["true", "false"]),
            version=st.sampled_from(["v1", "v2"]),
        ),
        filled(_OF_PEERS, mode=st.sampled_from(["STRICT", "DISABLE", "PERMISSIVE"])),
        filled(_OUTSIDE, resolution=st.sampled_from(["STATIC", "DNS"]), number=st.integers(1, 3)),
        filled(_GATEWAY),
    )


def workloads() -> st.SearchStrategy[Workload]:
    def made(namespace: str, name: str, kind: str, number: int, version: str, more: dict[str, object]) -> Workload:
        address = f"10.1.{NAMESPACES.index(namespace)}.{number}"
        app = name.partition("-")[0]
        fields: dict[str, object] = {"name": name, "namespace": namespace, "service_account": app, **more}
        fields["labels"] = {"app": app, "version": version}
        port = {"name": "http", "service_port": 8080, "app": f"{address}:8080"}
        if kind == "pod":
            fields |= {"addresses": (address,), "capture": True, "ports": (port,)}
        elif kind == "uncaptured":
            fields |= {"addresses": (address,), "ports": (port,)}
        elif kind == "gateway":
            fields |= {"kind": "gateway", "gateway_ports": {"80": f"{address}:8080"}, "labels": {"edge": "yes"}}
        elif kind == "relay":
            relay = {"service": "b", "port": 80, "listen": "127.0.0.1:7000"}
            fields |= {"inbound": f"{address}:15006", "tcp_outbound": (relay,)}
        else:
            port = {"name": "http", "service_port": 80, "app": "127.0.0.1:8080"}
            fields |= {"inbound": f"{address}:15006", "outbound": "127.0.0.1:15001", "ports": (port,), "service": app}
        return Workload.model_validate(fields)

    places = [{"locality": {"region": "r", "zone": zone}} for zone in ("z1", "z2")]
    more = st.sampled_from([{}, {"finished": True}, {"service_account": "other"}, *places])
    kinds = st.sampled_from(["pod", "pod", "uncaptured", "laptop", "relay", "gateway"])
    names, versions = st.sampled_from(NAMES), st.sampled_from(["v1", "v2"])
    return st.builds(made, st.sampled_from(NAMESPACES), names, kinds, st.integers(1, 4), versions, more)


class Changes(RuleBasedStateMachine):
    """A mesh that is changed in every way, planned sometimes, tried sometimes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.settings = MeshSettings(root_pem="one")
        self.plan = Plan()

    @initialize(come=st.lists(workloads(), min_size=3, max_size=8), texts=st.lists(rules(), min_size=3, max_size=10))
    def planned(self, come: list[Workload], texts: list[str]) -> None:
        for workload in come:
            self.workload_comes(workload)
        for text in texts:
            self.rule_is_stored(text)
        self.plan = plan_of("0", self.world, self.settings, self.plan)

    @rule(workload=workloads())
    def workload_comes(self, workload: Workload) -> None:
        self.world = self.world.with_workload(workload)

    @rule(data=st.data())
    def workload_goes(self, data: st.DataObject) -> None:
        if self.world.workloads:
            self.world = self.world.without_workload(data.draw(st.sampled_from(sorted(self.world.workloads))))

    @rule(text=rules())
    def rule_is_stored(self, text: str) -> None:
        self.world = self.world.with_resources(parsed(text))

    @rule(text=rules())
    def rule_is_tried(self, text: str) -> None:
        plan_of("trial", self.world.with_resources(parsed(text)), self.settings, self.plan)

    @rule(data=st.data())
    def rule_is_deleted(self, data: st.DataObject) -> None:
        if self.world.resources:
            keys: list[Key] = sorted(self.world.resources)
            self.world = self.world.with_resources((), [data.draw(st.sampled_from(keys))])

    @rule(root=st.sampled_from(["one", "two"]))
    def root_is_rotated(self, root: str) -> None:
        self.settings = MeshSettings(root_pem=root)

    @rule()
    def planned_again(self) -> None:
        self.plan = plan_of("1", self.world, self.settings, self.plan)
        world = World(MappingProxyType(dict(self.world.resources)), MappingProxyType(dict(self.world.workloads)))
        anew = plan_of("1", world, self.settings, Plan())
        assert self.plan.warnings == anew.warnings
        assert sorted(self.plan.problems) == sorted(anew.problems)
        assert self.plan.proxies == anew.proxies
        assert {*self.plan.snapshots} == {*anew.snapshots}
        for node_id, snapshot in self.plan.snapshots.items():
            for url, resources in snapshot.resources.items():
                expected = anew.snapshots[node_id].resources[url]
                assert dict(resources) == dict(expected), (node_id, url)
                assert resources.version == expected.version, (node_id, url)
                sent = DiscoveryResponse.FromString(resources.wire()).resources
                assert sorted(each.value for each in sent) == sorted(each.value for each in expected.values())

    @invariant()
    def services_are_those_of_the_world(self) -> None:
        derived = derive(self.world.resources, self.world.workloads)
        assert dict(self.world.services) == dict(derived.services)
        assert [*self.world.services] == [*derived.services]

    def teardown(self) -> None:
        self.planned_again()


def parsed(text: str) -> tuple[Resource, ...]:
    found = parse([SourceFile("f.yaml", text)])
    assert not found.violations, [str(each) for each in found.violations]
    return found.resources


Changes.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestChanges = Changes.TestCase
