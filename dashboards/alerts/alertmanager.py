"""An Alertmanager configuration that takes these alerts in.

https://prometheus.io/docs/alerting/latest/configuration/
"""

from dataclasses import dataclass
from typing import Any

from dashboards.alerts.rules import HEADER, duration, to_yaml


@dataclass(frozen=True, slots=True)
class Receivers:
    """Who is told: webhooks, which every pager and chat has a bridge for."""

    page_url: str = "http://127.0.0.1:9095/page"
    ticket_url: str = "http://127.0.0.1:9095/ticket"
    group_wait_s: float = 30
    """Alerts of one service that begin together make one message."""
    group_interval_s: float = 300
    page_repeat_s: float = 4 * 3600
    ticket_repeat_s: float = 24 * 3600


def render_alertmanager(receivers: Receivers) -> str:
    """The file."""
    return HEADER + to_yaml(_document(receivers))


def _document(receivers: Receivers) -> dict[str, Any]:
    service = ["destination_service_namespace", "destination_service_name"]
    return {
        "route": {
            "receiver": "ticket",
            "group_by": ["alertname", "namespace", "workload", *service],
            "group_wait": duration(receivers.group_wait_s),
            "group_interval": duration(receivers.group_interval_s),
            "repeat_interval": duration(receivers.ticket_repeat_s),
            "routes": [
                {
                    "matchers": ['severity="page"'],
                    "receiver": "page",
                    "repeat_interval": duration(receivers.page_repeat_s),
                },
            ],
        },
        "inhibit_rules": [
            # The same budget, burning faster, says all that the slower alert would.
            {
                "source_matchers": ['severity="page"', 'slo!=""'],
                "target_matchers": ['severity="ticket"', 'slo!=""'],
                "equal": ["slo", *service],
            },
            # A proxy that is down is not stale, too.
            {
                "source_matchers": ['alertname="RemoraTargetDown"'],
                "target_matchers": ['alertname=~"Remora(ConfigurationStale|CertificateExpiresSoon)"'],
                "equal": ["namespace", "workload"],
            },
        ],
        "receivers": [
            {"name": "page", "webhook_configs": [{"url": receivers.page_url, "send_resolved": True}]},
            {"name": "ticket", "webhook_configs": [{"url": receivers.ticket_url, "send_resolved": True}]},
        ],
    }
