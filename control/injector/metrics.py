"""The application's own metrics by way of the sidecar: Prometheus asks one place of a pod, which is not captured.

The annotations `prometheus.io/*` are pointed at the sidecar and the originals handed to it, as Istio's metrics merging
does: https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
"""

import re
from dataclasses import dataclass, field
from typing import Any

from control.api.scalars import shorten
from control.injector import pod as of
from control.injector.names import METRICS_PORT
from control.injector.outcome import Finding

MERGE = "prometheus.istio.io/merge-metrics"
PATH = "/stats/prometheus"
"""Where the sidecar serves its own and the application's."""

_PREFIX = "prometheus.io/"
_KEYS = ("scrape", "port", "path", "scheme")
_METRICS_PATH = re.compile(r"/[\x21-\x22\x24-\x7e]{0,1023}\Z")


@dataclass(frozen=True, slots=True)
class Scraping:
    """Annotations to set, and what the sidecar is told of the original ones."""

    annotations: dict[str, str] = field(default_factory=dict)
    handed: dict[str, str] | None = None
    """None: it need not be told anything."""


def scraping(pod: dict[str, Any], merge: bool, found: list[Finding], warnings: list[Finding]) -> Scraping:
    """How this pod's metrics are fetched."""
    annotations = of.annotations(pod)
    said = {key: annotations[_PREFIX + key] for key in _KEYS if _PREFIX + key in annotations}
    path = ("metadata", "annotations")
    wanted = annotations.get(MERGE)
    if wanted not in (None, "true", "false"):
        found.append(Finding((*path, MERGE), f'is {shorten(wanted)}; write "true" or "false"'))
        return Scraping()
    left_alone = Scraping(handed={"scrape": "false"})
    if said.get("scrape") == "false" or wanted == "false" or not (merge or wanted):
        return left_alone
    ours = {f"{_PREFIX}scrape": "true", f"{_PREFIX}port": str(METRICS_PORT), f"{_PREFIX}path": PATH}
    if said.get("scrape") != "true" or said.get("port") == str(METRICS_PORT):
        return Scraping(ours)
    port, where = said.get("port", ""), said.get("path", "")
    if said.get("scheme", "") not in ("", "http"):
        warnings.append(
            Finding(
                (*path, f"{_PREFIX}scheme"),
                f"is {shorten(said['scheme'])}: metrics served with TLS are not merged "
                "with the sidecar's; Prometheus asks the application itself",
            )
        )
        return left_alone
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        found.append(Finding((*path, f"{_PREFIX}port"), f"is {shorten(port)}; write a port, 1 to 65535"))
    if where and not _METRICS_PATH.match(where if where.startswith("/") else f"/{where}"):
        found.append(
            Finding((*path, f"{_PREFIX}path"), f"is {shorten(where)}; write the path of a URL, such as /metrics")
        )
    return Scraping(ours, said)
