"""All objects of an installation, in the order in which they are applied: each finds there what it needs."""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import ABSENT, Node, evaluate
from remora.install.parts import (
    accounts,
    collector,
    control,
    custom_metrics,
    gateway,
    namespace,
    network,
    node_agent,
    settings,
    webhooks,
)
from remora.install.values import Values

PARTS: Mapping[str, list[Node]] = {
    "namespace": namespace.objects(),
    # Before anything that makes pods wait for it.
    "node-agent": node_agent.objects(),
    "accounts": accounts.objects(),
    "settings": settings.objects(),
    "network": network.objects(),
    "control": control.objects(),
    "collector": collector.objects(),
    "gateway": gateway.objects(),
    "custom-metrics": custom_metrics.objects(),
    # Last: from then on the API server asks.
    "webhooks": webhooks.objects(),
}
"""By name of the chart's template and the base's file."""

Identity = tuple[str, str, str, str]


def objects(values: Values) -> list[dict[str, Any]]:
    """Every object but the CRDs."""
    return [each for part in PARTS for each in part_objects(part, values)]


def part_objects(part: str, values: Values) -> list[dict[str, Any]]:
    """Those of one part."""
    plain = values.plain()
    return [found for node in PARTS[part] if (found := evaluate(node, plain)) is not ABSENT]


def identity(found: Mapping[str, Any]) -> Identity:
    """What tells an object from the others of a cluster: apiVersion, kind, namespace, name."""
    meta = found["metadata"]
    return found["apiVersion"], found["kind"], meta.get("namespace", ""), meta["name"]
