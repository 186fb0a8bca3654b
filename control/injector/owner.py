"""Who made a pod: the workload's name that people know it by, and whether it is a job's."""

import re
from dataclasses import dataclass
from typing import Any

from control.injector import pod as of
from control.injector.names import CANONICAL_NAME, CANONICAL_REVISION

_BY_CRON = re.compile(r"(.+)-[0-9]{8,}\Z")
_NO_LABEL_END = re.compile(r"[^A-Za-z0-9]+\Z")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Owner:
    """A pod's workload."""

    kind: str
    name: str
    """Empty where nothing tells."""

    @property
    def runs_to_completion(self) -> bool:
        """A Job's pods end when their work is done."""
        return self.kind in ("Job", "CronJob")


def owner_of(pod: dict[str, Any]) -> Owner:
    """As Istio tells it: of a ReplicaSet its Deployment, of a CronJob's Job the CronJob, of a lone pod itself."""
    metadata = of.metadata(pod)
    owners = metadata.get("ownerReferences") or []
    controller = next((each for each in owners if each.get("controller") is True), owners[0] if owners else None)
    kind, name = "Pod", _text(metadata.get("name")) or _text(metadata.get("generateName")).rstrip("-.")
    if controller is not None:
        kind, name = _text(controller.get("kind")), _text(controller.get("name"))
        template_hash = of.labels(pod).get("pod-template-hash")
        if kind == "ReplicaSet" and template_hash and name.endswith(f"-{template_hash}"):
            kind, name = "Deployment", name.removesuffix(f"-{template_hash}")
        elif kind == "Job" and (match := _BY_CRON.match(name)):
            kind, name = "CronJob", match[1]
    return Owner(kind, name if _NAME.match(name) else "")


def is_job(pod: dict[str, Any], owner: Owner) -> bool:
    """Whether its containers are to end."""
    return owner.runs_to_completion or of.spec(pod).get("restartPolicy") in ("Never", "OnFailure")


def canonical_labels(pod: dict[str, Any], owner: Owner) -> dict[str, str]:
    """The labels by which Istio's metrics name the service; those that the pod has, as they are."""
    labels = of.labels(pod)
    name = next((labels[key] for key in ("app.kubernetes.io/name", "app") if labels.get(key)), owner.name)
    revision = next((labels[key] for key in ("app.kubernetes.io/version", "version") if labels.get(key)), "latest")
    wanted = {CANONICAL_NAME: _label_value(name), CANONICAL_REVISION: _label_value(revision)}
    return {key: value for key, value in wanted.items() if key not in labels and value}


def _label_value(text: str) -> str:
    short = _NO_LABEL_END.sub("", text[:63])
    return short if _LABEL.match(short) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
