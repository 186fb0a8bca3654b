"""Whether a cluster can have the mesh: version, permissions, nodes, and who else injects."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from remora.install.checks.facts import Facts, Object, labels_of, name_of, some
from remora.install.checks.finding import Finding, error, ok, warning
from remora.install.names import INJECTION_LABEL, ISTIO_INJECTION_LABEL
from remora.install.values import Values

MIN_VERSION, NATIVE_VERSION = (1, 28), (1, 29)
"""matchConditions of webhooks; sidecars as init containers."""
MIN_KERNEL = (4, 11)
"""net.ipv4.ip_unprivileged_port_start, by which a gateway without privileges listens below 1024."""
ARCHITECTURES = ("amd64", "arm64")
_PLURALS = {"NetworkPolicy": "networkpolicies", "StorageClass": "storageclasses"}
_PSA = "pod-security.kubernetes.io/enforce"


def permissions(objects: Sequence[Object]) -> list[tuple[str, str, str, str]]:
    """What it takes to apply them: verb, group, plural, namespace."""
    found: dict[tuple[str, str, str, str], None] = {}
    for each in objects:
        group = each["apiVersion"].rpartition("/")[0]
        plural = _PLURALS.get(each["kind"], f"{each['kind'].lower()}s")
        for verb in ("create", "patch"):
            found[verb, group, plural, each["metadata"].get("namespace", "")] = None
    return list(found)


def findings(facts: Facts, values: Values) -> Iterator[Finding]:
    """Everything that is to be known before `kubectl apply`."""
    yield _version(facts, values)
    yield _permissions(facts)
    yield from _nodes(facts, values)
    yield from _istio(facts, values)
    yield from _pod_security(facts, values)
    yield from _needs(facts, values)
    for name, why in facts.unread.items():
        yield warning("what may be seen", f"{name}: {why}", "have somebody check who may read that")


def _version(facts: Facts, values: Values) -> Finding:
    shown = str(facts.version.get("gitVersion", "unknown"))
    numbers = tuple(int(re.sub(r"\D.*", "", str(facts.version.get(part, "0"))) or 0) for part in ("major", "minor"))
    if numbers < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        return error("Kubernetes", f"{shown} is older than {least}", f"upgrade the cluster to {least} or later")
    if values.sidecar.native and numbers < NATIVE_VERSION:
        return error(
            "Kubernetes", f"{shown} has no native sidecars", "install with --set sidecar.native=false, or upgrade"
        )
    return ok("Kubernetes", shown)


def _permissions(facts: Facts) -> Finding:
    missing = [key for key, allowed in facts.allowed.items() if not allowed]
    if missing:
        texts = [
            f"{verb} {plural}{'.' if group else ''}{group}{f' in {namespace}' if namespace else ''}"
            for verb, group, plural, namespace in missing
        ]
        return error("permissions", f"you may not {some(texts)}", "have a cluster administrator install")
    return ok("permissions", f"you may do all {len(facts.allowed)} things that installing takes")


def _nodes(facts: Facts, values: Values) -> Iterator[Finding]:
    nodes = facts.all("nodes")
    if "nodes" in facts.unread:
        return
    ready = [each for each in nodes if _system(each) == "linux"]
    if not ready:
        yield error("nodes", "the cluster has no node with Linux", "add one")
        return
    old = [name_of(each) for each in ready if _numbers(_info(each).get("kernelVersion", "")) < MIN_KERNEL]
    if old and values.gateway.enabled:
        least = ".".join(map(str, MIN_KERNEL))
        yield error("nodes", f"the kernel of {some(old)} is older than {least}", "upgrade these nodes")
    strange = [name_of(each) for each in ready if _info(each).get("architecture") not in ARCHITECTURES]
    if strange:
        fix = f"the image is built for {' and '.join(ARCHITECTURES)}: keep meshed pods off them by a nodeSelector"
        yield warning("nodes", f"{some(strange)} have another architecture", fix)
    behind = [name_of(each) for each in ready if _numbers(_info(each).get("kubeletVersion", "")) < NATIVE_VERSION]
    if behind and values.sidecar.native:
        yield error(
            "nodes",
            f"the kubelet of {some(behind)} knows no native sidecars",
            "upgrade it, or --set sidecar.native=false",
        )
    elif not old:
        yield ok("nodes", f"{len(ready)} with Linux")


def _istio(facts: Facts, values: Values) -> Iterator[Finding]:
    theirs = [name_of(each) for each in facts.all("mutating") if name_of(each).startswith("istio-")]
    if theirs and values.take_istios_place:
        yield error(
            "Istio", f"{some(theirs)} would inject the same pods", "remove Istio's injector, or takeIstiosPlace=false"
        )
    elif theirs and values.validation.unlabelled_namespaces:
        yield warning(
            "Istio",
            "Istio is here, and its rules outside of the mesh would be judged by ours",
            "--set validation.unlabelledNamespaces=false",
        )
    elif theirs:
        yield ok("Istio", "is here, in namespaces of its own")
    foreign = [
        name_of(each)
        for each in facts.all("definitions")
        if name_of(each).endswith(".istio.io")
        and (each["metadata"].get("labels") or {}).get("app.kubernetes.io/part-of") != "remora"
    ]
    if foreign:
        yield warning(
            "kinds", f"Istio's own definitions are there: {some(foreign)}", "leave them: install with --skip-istio-crds"
        )
    both = [
        name_of(each)
        for each in facts.all("namespaces")
        if labels_of(each).get(INJECTION_LABEL) == "enabled" and labels_of(each).get(ISTIO_INJECTION_LABEL) == "enabled"
    ]
    if both and theirs:
        fix = f"remove one of the labels {INJECTION_LABEL} and {ISTIO_INJECTION_LABEL}"
        yield error("namespaces", f"{some(both)} ask for Istio's sidecar and ours", fix)


def _pod_security(facts: Facts, values: Values) -> Iterator[Finding]:
    if values.cni.enabled:
        return
    strict = [
        name_of(each)
        for each in facts.all("namespaces")
        if labels_of(each).get(_PSA) in ("baseline", "restricted") and _is_member(each, values)
    ]
    if strict:
        yield error(
            "pod security",
            f"{some(strict)} enforce a level that forbids NET_ADMIN, which remora-init needs: pods would be refused",
            "have the node agent capture: --set cni.enabled=true, or enforce privileged there",
        )


def _needs(facts: Facts, values: Values) -> Iterator[Finding]:
    scaling = values.control.autoscaling.enabled or (values.gateway.enabled and values.gateway.autoscaling.enabled)
    served = [name_of(each) for each in facts.all("aggregated APIs")]
    if scaling and "aggregated APIs" in facts.lists and "v1beta1.metrics.k8s.io" not in served:
        yield warning(
            "autoscaling",
            "there is no metrics server, without which nothing is scaled",
            "install it, or --set control.autoscaling.enabled=false --set gateway.autoscaling.enabled=false",
        )
    if values.collector.enabled and not values.collector.storage.class_name and "storage classes" in facts.lists:
        mark = "storageclass.kubernetes.io/is-default-class"
        classes = facts.all("storage classes")
        if not any((each["metadata"].get("annotations") or {}).get(mark) == "true" for each in classes):
            known = [name_of(each) for each in classes]
            yield error(
                "storage",
                "no StorageClass is the default: the collector's volume would wait for ever",
                f"--set collector.storage.className=NAME{f' (there are {some(known)})' if known else ''}",
            )


def _is_member(namespace: Object, values: Values) -> bool:
    labels = labels_of(namespace)
    wanted = labels.get(INJECTION_LABEL) == "enabled" or "remora.io/rev" in labels
    return wanted or (values.take_istios_place and labels.get(ISTIO_INJECTION_LABEL) == "enabled")


def _info(node: Object) -> Mapping[str, Any]:
    return (node.get("status") or {}).get("nodeInfo") or {}


def _system(node: Object) -> str:
    return str(_info(node).get("operatingSystem", "linux"))


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
