"""A Prometheus configuration that finds the mesh by HTTP service discovery.

https://prometheus.io/docs/prometheus/latest/configuration/configuration/
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.alerts.rules import duration, to_yaml

HEADER = """\
# Made by `remora metrics prometheus-config`. Prometheus must be able to read the two files named below.
# Start it with --enable-feature=exemplar-storage, and it keeps the traces that latency buckets name.
"""

TARGETS_PATH = "/v1/prometheus/targets"


@dataclass(frozen=True, slots=True)
class Scraping:
    """Of one mesh. Addresses are HOST:PORT."""

    rest: str
    """URL of the control plane, which lists the targets."""
    root: Path
    """The mesh's root certificate."""
    token_file: Path
    """What opens the list of targets and nothing else."""
    interval_s: float = 15.0
    refresh_s: float = 15.0
    rule_files: str = ""
    """A path with wildcards; none: no rules."""
    alertmanagers: tuple[str, ...] = ()
    node_exporters: tuple[str, ...] = ()
    """Where they run, the collector's own few numbers of the machine are left out."""
    kube_state_metrics: tuple[str, ...] = ()


def render_prometheus(scraping: Scraping) -> str:
    """The file."""
    return HEADER + to_yaml(_document(scraping))


def _document(scraping: Scraping) -> dict[str, Any]:
    interval = duration(scraping.interval_s)
    document: dict[str, Any] = {"global": {"scrape_interval": interval, "evaluation_interval": interval}}
    if scraping.rule_files:
        document["rule_files"] = [scraping.rule_files]
    if scraping.alertmanagers:
        document["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(scraping.alertmanagers)}]}]}
    jobs = [_mesh(scraping)]
    for name, targets in (("node", scraping.node_exporters), ("kube-state-metrics", scraping.kube_state_metrics)):
        if targets:
            jobs.append({"job_name": name, "static_configs": [{"targets": list(targets)}]})
    document["scrape_configs"] = jobs
    return document


def _mesh(scraping: Scraping) -> dict[str, Any]:
    """Each target says its own job, scheme and path."""
    root = str(scraping.root)
    job: dict[str, Any] = {
        "job_name": "remora",
        "http_sd_configs": [
            {
                "url": scraping.rest + TARGETS_PATH,
                "refresh_interval": duration(scraping.refresh_s),
                # Said though it is the default: Prometheus 2.42 sends the bare token without it.
                "authorization": {"type": "Bearer", "credentials_file": str(scraping.token_file)},
                "tls_config": {"ca_file": root},
            }
        ],
        "tls_config": {"ca_file": root},
    }
    if scraping.node_exporters:
        job["relabel_configs"] = [{"source_labels": ["job"], "regex": "node", "action": "drop"}]
    return job
