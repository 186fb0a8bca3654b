"""A mesh of any size: namespaces with services, pods behind them, and rules for some."""

from collections.abc import Iterator
from types import MappingProxyType

from control.api.parse import parse
from control.api.resource import Resource
from control.api.source import SourceFile
from control.api.workload import Workload
from control.api.world import World

SERVICES_A_NAMESPACE = 50
RULES_EVERY = 10
"""Of so many services one has a VirtualService and a DestinationRule."""

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  clusterIP: {address}
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""
_RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}]
  http:
  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: {name}, subset: v2}}}}]
  - timeout: 5s
    route:
    - {{destination: {{host: {name}, subset: v1}}, weight: 90}}
    - {{destination: {{host: {name}, subset: v2}}, weight: 10}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {name}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
"""


def place(service: int) -> tuple[str, str]:
    """The namespace and name of a service."""
    return f"team-{service // SERVICES_A_NAMESPACE}", f"service-{service}"


def pod(service: int, number: int, *, generation: int = 0, capture: bool = True) -> Workload:
    """One instance; `generation` counts the pods that were there in its place before, each at another address."""
    namespace, name = place(service)
    instance = service * 100 + number
    address = f"10.{64 + generation % 64}.{instance // 250 % 250}.{instance % 250 + 1}"
    if instance >= 62_500:
        address = f"10.{128 + generation % 64}.{instance // 250 % 250}.{instance % 250 + 1}"
    common = {
        "name": f"{name}-{generation:x}-{number}",
        "namespace": namespace,
        "service_account": name,
        "labels": {"app": name, "version": f"v{number % 2 + 1}"},
    }
    port = {"name": "http", "service_port": 8080, "app": f"{address}:8080"}
    if capture:
        return Workload.model_validate({**common, "addresses": (address,), "capture": True, "ports": (port,)})
    port = {"name": "http", "service_port": 80, "app": "127.0.0.1:8080"}
    more = {"inbound": f"{address}:15006", "outbound": "127.0.0.1:15001", "ports": (port,)}
    return Workload.model_validate({**common, **more})


def pods(services: int, count: int, *, capture: bool = True) -> Iterator[Workload]:
    """`count` of them, dealt to the services in turn."""
    for number in range(count):
        yield pod(number % services, number // services, capture=capture)


def rules(services: int) -> list[Resource]:
    """The services, and the rules of some."""
    texts = []
    for number in range(services):
        namespace, name = place(number)
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        texts.append(_SERVICE.format(name=name, namespace=namespace, address=address))
        if number % RULES_EVERY == 0:
            texts.append(_RULES.format(name=name, namespace=namespace))
    return resources_of("---\n".join(texts))


def resources_of(text: str) -> list[Resource]:
    """Of documents without fault."""
    parsed = parse([SourceFile("mesh.yaml", text)])
    assert not parsed.violations, parsed.violations[:3]
    return list(parsed.resources)


def world(services: int, count: int, *, capture: bool = True) -> World:
    """Generation 1."""
    resources = {resource.key: resource for resource in rules(services)}
    workloads = {(each.namespace, each.name): each for each in pods(services, count, capture=capture)}
    return World(MappingProxyType(resources), MappingProxyType(workloads), generation=1)
