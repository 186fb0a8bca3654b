"""The injector: a pod, its namespace and the mesh's settings -> a JSON patch, a reason to leave it alone, or a refusal.

Pure and total: whatever the pod holds, the answer is one of the three. The webhook and `remora inject` both call it.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

from control.injector import conflicts, custom, decision, json_patch, metrics, owner, probes, status, template
from control.injector import pod as of
from control.injector.annotations import PodOptions, options_of
from control.injector.names import INIT, PROXY, TLS_MODE, VALIDATION
from control.injector.outcome import Denied, Finding, Injected, Outcome
from control.injector.owner import Owner
from control.injector.settings import InjectorSettings, NamespaceFacts

_DEFAULT_GRACE_S = 30
_CAPTURE = (INIT, VALIDATION)


def inject(
    pod: dict[str, Any],
    namespace: NamespaceFacts,
    settings: InjectorSettings,
    owned: Owner | None = None,
    hook_key: str | None = None,
) -> Outcome:
    """`pod` is as an AdmissionReview's object, with or without a name; it is not changed.

    `owned` says whose it is where the pod cannot: it is a template yet. `hook_key`, 16 to 64 letters, digits, `-` and
    `_` that nobody guesses, is part of the paths of lifecycle hooks; None: made of the pod itself.
    """
    if found := of.shape(pod):
        return Denied.of(found)
    decided = decision.decide(pod, namespace, settings)
    if decided is not None:
        return decided
    found = []
    warnings: list[Finding] = []
    options = options_of(pod, settings, found, warnings)
    found += conflicts.conflicts(pod)
    after = deepcopy(pod)
    key = hook_key or probes.hook_key_of(pod, namespace.name)
    rewritten = probes.rewrite(after, key) if options.rewrite_probes else probes.Rewritten()
    found += rewritten.findings
    scraping = metrics.scraping(pod, settings.merge_metrics, found, warnings)
    if found:
        return Denied.of(found)
    options = _within_grace(options, pod, warnings)
    warnings += conflicts.remarks(pod, namespace, settings)
    owned = owned or owner.owner_of(pod)
    job = owner.is_job(pod, owned)
    if job and not settings.native_sidecars and not options.hold:
        warnings.append(
            Finding(
                (), "holdApplicationUntilProxyStarts is off: the job may do its work, and fail, before it has a network"
            )
        )
    facts = template.Facts(
        owned.name, job, of.spec(pod).get("terminationGracePeriodSeconds"), rewritten.originals, scraping.handed
    )
    _put_in(after, template.proxy_container(options, settings, facts), options, settings)
    _add(after, "labels", {TLS_MODE: "istio", **owner.canonical_labels(pod, owned)}, over=False)
    _add(after, "annotations", scraping.annotations, over=True)
    _add(after, "annotations", _first_container(pod), over=False)
    return _finish(pod, after, options, settings, warnings)


def _within_grace(options: PodOptions, pod: dict[str, Any], warnings: list[Finding]) -> PodOptions:
    """A drain that ends after the pod's grace period is cut off by SIGKILL, with what is still under way."""
    said = of.spec(pod).get("terminationGracePeriodSeconds")
    grace_s = _DEFAULT_GRACE_S if said is None else max(0, said)
    if options.drain_s < grace_s or options.drain_s == 0:
        return options
    shorter = max(0.0, grace_s - 1.0)
    warnings.append(
        Finding(
            ("spec", "terminationGracePeriodSeconds"),
            f"is {grace_s}, and terminationDrainDuration {options.drain_s:g}s: the sidecar drains for {shorter:g}s; "
            f"give the pod at least {int(options.drain_s) + 1} seconds",
        )
    )
    return replace(options, drain_s=shorter)


def _put_in(after: dict[str, Any], proxy: dict[str, Any], options: PodOptions, settings: InjectorSettings) -> None:
    """The containers, and what they need."""
    spec = after["spec"]
    initial, usual = spec.get("initContainers") or [], spec.get("containers") or []
    capture = template.validation_container if settings.cni else template.init_container
    initial = [*initial, capture(options, settings)]
    if settings.native_sidecars:
        initial = [*initial, proxy]
    else:
        usual = [*usual, proxy]
    spec["initContainers"] = initial
    spec["containers"] = usual
    spec["volumes"] = [*(spec.get("volumes") or []), *template.volumes()]
    present = spec.get("imagePullSecrets") or []
    names = {each["name"] for each in present}
    if missing := [{"name": name} for name in settings.image_pull_secrets if name not in names]:
        spec["imagePullSecrets"] = [*present, *missing]


def _order(after: dict[str, Any], options: PodOptions, settings: InjectorSettings) -> None:
    """Our containers where the kubelet is to start them, wherever a template has put its own.

    Native: capture and the sidecar before whatever needs a network. Classic: capture after the user's own init
    containers, which would have none; the sidecar first, if the application is to wait for it.
    """
    spec = after["spec"]
    initial, usual = (of.containers(after, group) for group in of.CONTAINER_LISTS)
    capture = [each for each in initial if each["name"] in _CAPTURE]
    proxy = [each for each in (*initial, *usual) if each["name"] == PROXY]
    initial, usual = ([each for each in group if each["name"] not in (*_CAPTURE, PROXY)] for group in (initial, usual))
    if settings.native_sidecars:
        initial = [*capture, *proxy, *initial]
    else:
        initial = [*initial, *capture]
        usual = [*proxy, *usual] if options.hold else [*usual, *proxy]
    if initial:
        spec["initContainers"] = initial
    spec["containers"] = usual


def _add(after: dict[str, Any], field: str, entries: dict[str, str], *, over: bool) -> None:
    if not entries:
        return
    if after.get("metadata") is None:
        after["metadata"] = {}
    current = after["metadata"].get(field) or {}
    after["metadata"][field] = (
        current | entries if over else current | {k: v for k, v in entries.items() if k not in current}
    )


def _first_container(pod: dict[str, Any]) -> dict[str, str]:
    """`kubectl logs` and `kubectl exec` go to the application, wherever the sidecar stands."""
    return {"kubectl.kubernetes.io/default-container": of.containers(pod, "containers")[0]["name"]}


def _finish(
    pod: dict[str, Any],
    after: dict[str, Any],
    options: PodOptions,
    settings: InjectorSettings,
    warnings: list[Finding],
) -> Outcome:
    try:
        after = custom.merged(after, options.templates, settings)
    except custom.BadTemplate as error:
        return Denied.of([Finding((), str(error))])
    _order(after, options, settings)
    status.write(pod, after, settings)
    if found := custom.unfit(after):
        return Denied.of(found)
    return Injected(json_patch.difference(pod, after), [str(each) for each in warnings])
