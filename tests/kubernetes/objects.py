"""Objects as a cluster has them, for tests: short calls, whole documents."""

from typing import Any

Object = dict[str, Any]

INJECTED = {"sidecar.istio.io/status": '{"containers":["remora-proxy"]}'}
"""The annotation of a pod that got its sidecar."""


def metadata(name: str, namespace: str = "default", **more: Any) -> Object:
    return {"name": name, "namespace": namespace, **more}


def pod(
    name: str,
    *addresses: str,
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    ports: dict[str, int] | None = None,
    account: str = "default",
    node: str = "node-1",
    meshed: bool = True,
    ready: bool = True,
    phase: str = "Running",
    owner: tuple[str, str] | None = None,
) -> Object:
    """`owner`: (kind, name) of its controller."""
    about = metadata(name, namespace, labels=labels or {}, annotations=dict(INJECTED) if meshed else {})
    if owner is not None:
        about["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": owner[0], "name": owner[1], "uid": f"uid-{owner[1]}", "controller": True}
        ]
    listed = [{"name": each, "containerPort": number} for each, number in (ports or {"http": 8080}).items()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {
            "serviceAccountName": account,
            "nodeName": node,
            "containers": [{"name": "app", "image": "app:1", "ports": listed}],
        },
        "status": {
            "phase": phase,
            "podIP": addresses[0] if addresses else "",
            "podIPs": [{"ip": each} for each in addresses],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def service(
    name: str,
    *ports: Object,
    namespace: str = "default",
    selector: dict[str, str] | None = None,
    addresses: tuple[str, ...] = ("10.96.0.10",),
    **spec: Any,
) -> Object:
    """Ports default to 80, named http; without addresses it is headless."""
    body: Object = {
        "ports": [
            {"protocol": "TCP", **each} for each in (ports or ({"name": "http", "port": 80, "targetPort": 8080},))
        ],
        "clusterIP": addresses[0] if addresses else "None",
        "clusterIPs": list(addresses) or ["None"],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        **spec,
    }
    if selector is not None:
        body["selector"] = selector
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, namespace), "spec": body}


def endpoint(address: str, pod: str = "", *, namespace: str = "default", node: str = "node-1", **more: Any) -> Object:
    """One of a slice, ready unless `conditions` say otherwise."""
    found: Object = {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}
    if pod:
        found["targetRef"] = {"kind": "Pod", "name": pod, "namespace": namespace}
        found["nodeName"] = node
    return {**found, **more}


def endpoint_slice(
    name: str,
    service: str,
    *endpoints: Object,
    namespace: str = "default",
    ports: dict[str, int] | None = None,
    family: str = "IPv4",
    app_protocols: dict[str, str] | None = None,
) -> Object:
    listed: list[Object] = [
        {"name": each, "port": number, "protocol": "TCP"} for each, number in (ports or {"http": 8080}).items()
    ]
    for each in listed:
        if app_protocols and each["name"] in app_protocols:
            each["appProtocol"] = app_protocols[each["name"]]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(name, namespace, labels={"kubernetes.io/service-name": service}),
        "addressType": family,
        "ports": listed,
        "endpoints": list(endpoints),
    }


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def node(name: str, region: str = "", zone: str = "") -> Object:
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    about = {"name": name, "labels": {key: value for key, value in labels.items() if value}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": about, "spec": {}}


def rule(kind: str, name: str, spec: Object, *, namespace: str = "default", **more: Any) -> Object:
    """One of ours."""
    api_version = {
        "PeerAuthentication": "security.istio.io/v1",
        "PythonFilter": "extensions.remora.dev/v1alpha1",
        "RequestAddon": "inspect.remora.dev/v1",
    }.get(kind, "networking.istio.io/v1")
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata(name, namespace, **more), "spec": spec}


def crd(
    kind: str, plural: str, group: str, versions: tuple[str, ...] = ("v1",), *, schema: Object | None = None
) -> Object:
    """A CustomResourceDefinition with a status subresource; any spec goes unless a schema says otherwise."""
    loose: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    condition: Object = {
        "type": "object",
        "required": ["type"],
        "properties": {
            **{each: {"type": "string"} for each in ("type", "status", "reason", "message", "lastTransitionTime")},
            "observedGeneration": {"type": "integer"},
        },
    }
    status: Object = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": condition,
            }
        },
    }
    whole = {"type": "object", "properties": {"spec": schema or loose, "status": status}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": index == 0,
                    "schema": {"openAPIV3Schema": whole},
                    "subresources": {"status": {}},
                }
                for index, version in enumerate(versions)
            ],
        },
    }


def our_crds() -> list[Object]:
    """Of every kind of rule, with loose schemas."""
    istio = ("v1", "v1beta1", "v1alpha3")
    return [
        crd("VirtualService", "virtualservices", "networking.istio.io", istio),
        crd("DestinationRule", "destinationrules", "networking.istio.io", istio),
        crd("Gateway", "gateways", "networking.istio.io", istio),
        crd("ServiceEntry", "serviceentries", "networking.istio.io", istio),
        crd("PeerAuthentication", "peerauthentications", "security.istio.io", ("v1", "v1beta1")),
        crd("PythonFilter", "pythonfilters", "extensions.remora.dev", ("v1alpha1",)),
        crd("RequestAddon", "requestaddons", "inspect.remora.dev", ("v1",)),
    ]
