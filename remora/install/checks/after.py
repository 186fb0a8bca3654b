"""How the mesh of a cluster is doing: its own pods, webhooks, certificates, sidecars and rules."""

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from control.api.kinds import KINDS
from remora.install.checks.facts import Facts, Object, labels_of, name_of, some
from remora.install.checks.finding import Finding, error, ok, warning

STATUS = "sidecar.istio.io/status"
PROXY = "remora-proxy"
VALIDATION = "remora-validation"
ROOT_LEFT = timedelta(days=30)
"""A root that ends sooner should have been followed by another by now."""


def installed(facts: Facts) -> bool:
    """Whether there is a mesh to look at."""
    return any(name_of(each).startswith("remora-control") for each in facts.all("deployments"))


def findings(facts: Facts, now: float) -> Iterator[Finding]:
    """`now` in seconds since the epoch."""
    yield from _workloads(facts)
    yield from _root(facts, now)
    yield from _webhooks(facts)
    yield from _node_agent(facts)
    yield from _sidecars(facts)
    yield from _rules(facts)


def _workloads(facts: Facts) -> Iterator[Finding]:
    for name in ("deployments", "stateful sets"):
        for each in facts.all(name):
            if labels_of(each).get("app.kubernetes.io/part-of") != "remora":
                continue
            spec, status = each.get("spec") or {}, each.get("status") or {}
            wanted, ready = int(spec.get("replicas", 1)), int(status.get("readyReplicas") or 0)
            said = f"{name_of(each)}: {ready} of {wanted} ready"
            behind = int(status.get("observedGeneration") or 0) < int(each["metadata"].get("generation") or 0)
            if ready == 0 and wanted:
                yield error(
                    "pods", said, f"kubectl describe pods -n remora-system -l app.kubernetes.io/name={name_of(each)}"
                )
            elif ready < wanted or behind:
                yield warning("pods", said, "wait for the rollout, or look at the pods' events")
            else:
                yield ok("pods", said)


def _root(facts: Facts, now: float) -> Iterator[Finding]:
    if "the mesh's root" in facts.unread:
        return
    if not facts.roots_pem:
        fix = "look at the leader's log: kubectl logs -n remora-system -l app.kubernetes.io/component=control"
        yield error("certificates", "the mesh has no root yet", fix)
        return
    try:
        roots = x509.load_pem_x509_certificates(facts.roots_pem.encode())
    except ValueError as problem:
        yield error(
            "certificates", f"the mesh's root cannot be read: {problem}", "the control plane writes it anew: restart it"
        )
        return
    at = datetime.fromtimestamp(now, UTC)
    last = max(root.not_valid_after_utc for root in roots)
    until = f"{last:%Y-%m-%d}"
    if last <= at:
        yield error(
            "certificates", f"every root has ended, the last one {until}", "restart the control plane: it makes another"
        )
    elif last - at < ROOT_LEFT:
        yield warning(
            "certificates", f"the last root ends {until}", "see in the control plane's log why it makes no other"
        )
    else:
        yield ok("certificates", f"{len(roots)} {'root' if len(roots) == 1 else 'roots'}, until {until}")


def _webhooks(facts: Facts) -> Iterator[Finding]:
    roots = facts.roots_pem.strip()
    for name in ("mutating", "validating"):
        ours = [each for each in facts.all(name) if labels_of(each).get("app.kubernetes.io/part-of") == "remora"]
        for each in ours:
            stale = [
                str(webhook.get("name"))
                for webhook in each.get("webhooks") or ()
                if _decoded((webhook.get("clientConfig") or {}).get("caBundle")) != roots
            ]
            if stale:
                yield error(
                    "webhooks",
                    f"{name_of(each)}: the caBundle of {some(stale)} is not the mesh's root: the API server cannot ask",
                    "the leader writes it within a minute; its log says if it may not",
                )
            else:
                yield ok("webhooks", f"{name_of(each)}: caBundle is current")
        if not ours and name not in facts.unread:
            yield warning("webhooks", f"there is no {name} webhook of the mesh", "install again, unless that is meant")


def _decoded(bundle: Any) -> str:
    try:
        return base64.b64decode(str(bundle or ""), validate=True).decode().strip()
    except (binascii.Error, ValueError):
        return ""


def _node_agent(facts: Facts) -> Iterator[Finding]:
    """Whether it is on every node, and whom it keeps waiting."""
    if "daemon sets" in facts.unread:
        return
    ours = [each for each in facts.all("daemon sets") if labels_of(each).get("app.kubernetes.io/part-of") == "remora"]
    waiting = [each for each in facts.all("pods") if _validates(each)]
    shown = some([f"{each['metadata'].get('namespace')}/{name_of(each)}" for each in waiting])
    where = some(sorted({str((each.get("spec") or {}).get("nodeName", "")) for each in waiting} - {""}))
    for each in ours:
        status = each.get("status") or {}
        wanted, ready = int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
        said = f"{name_of(each)}: on {ready} of {wanted} nodes ready"
        fix = "kubectl describe pods -n remora-node; pods of the mesh do not start on the other nodes"
        if ready == 0 and wanted:
            yield error("node agent", said, fix)
        elif ready < wanted:
            yield warning("node agent", said, fix)
        else:
            yield ok("node agent", said)
    if waiting and not ours:
        fix = "install with --set cni.enabled=true, or make these pods anew after cni.enabled=false"
        yield error("node agent", f"{shown} wait for one, and there is none", fix)
    elif waiting:
        fix = "kubectl describe pod tells what it met; kubectl logs -n remora-node of the pod on that node, more"
        yield warning("node agent", f"{shown} wait for it, on {where or 'no node yet'}", fix)


def _validates(pod: Object) -> bool:
    """Whether it is at that step now, or about to try it once more."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    said: Object = next((each for each in statuses if each.get("name") == VALIDATION), {})
    state = said.get("state") or {}
    return "running" in state or ("waiting" in state and bool(said.get("lastState")))


def _sidecars(facts: Facts) -> Iterator[Finding]:
    """A sidecar is ready when it has a certificate, and its configuration has been applied."""
    meshed = [each for each in facts.all("pods") if STATUS in (each["metadata"].get("annotations") or {})]
    running = [each for each in meshed if (each.get("status") or {}).get("phase") == "Running"]
    waiting = [f"{each['metadata'].get('namespace')}/{name_of(each)}" for each in running if not _synced(each)]
    if waiting:
        yield warning(
            "sidecars", f"{some(waiting)} have not got their configuration", f"kubectl logs -n NAMESPACE POD -c {PROXY}"
        )
    elif "pods" not in facts.unread:
        yield ok("sidecars", f"{len(running)} running, all synced")


def _synced(pod: Object) -> bool:
    status = pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return any(each.get("name") == PROXY and each.get("ready") for each in statuses)


def _rules(facts: Facts) -> Iterator[Finding]:
    count, refused = 0, []
    for kind in KINDS:
        for each in facts.all(kind):
            count += 1
            conditions = (each.get("status") or {}).get("conditions") or ()
            if any(one.get("type") == "Accepted" and one.get("status") == "False" for one in conditions):
                refused.append(f"{kind} {each['metadata'].get('namespace')}/{name_of(each)}")
    if refused:
        yield warning(
            "rules", f"{some(refused)} are not accepted", "kubectl describe says why; the last good ones serve"
        )
    else:
        yield ok("rules", f"{count}, none refused")
