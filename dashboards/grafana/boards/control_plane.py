"""The control plane: does every proxy run the present rules, how soon do changes arrive, and is the authority well."""

from dashboards.grafana.boards.parts import CERTIFICATES_THAT_END_FIRST, CHANGES, REJECTING, number, the_process
from dashboards.grafana.boards.reasons import NO_CHANGE, NO_REFUSAL, NO_REJECTION
from dashboards.grafana.links import CONTROL_PLANE_UID, TO_WORKLOAD
from dashboards.grafana.model import SHOULD_BE_ZERO, Board, Kind, Panel, Query, Row, Threshold, Unit
from dashboards.grafana.promql import WINDOW, buckets, quantile

_DAYS_90 = 90 * 86400.0
_OF_CONTROL = " and on (job, instance) pilot_xds"
"""Every process has metrics of this name: those of the target that is a control plane."""

_GLANCE = Row(
    "At a glance",
    (
        number("Connected", "Proxies connected by ADS.", Unit.COUNT, "sum(pilot_xds)"),
        number(
            "Not connected",
            "Registered workloads without a connection: they serve what they last accepted, but hear of no change.",
            Unit.COUNT,
            "clamp_min(sum(remora_control_workloads) - sum(pilot_xds), 0)",
            thresholds=(Threshold(None, "green"), Threshold(1, "orange")),
        ),
        REJECTING,
        number(
            "Changes to arrive, p99",
            "From a change to a proxy's having acknowledged all of it, over the last hour.",
            Unit.SECONDS,
            "histogram_quantile(0.99, sum by (le) (increase(pilot_proxy_convergence_time_bucket[1h])))",
            may_be_empty=NO_CHANGE,
            thresholds=(Threshold(None, "green"), Threshold(5, "orange"), Threshold(30, "red")),
        ),
        number("Rules", "Stored rules of all kinds.", Unit.COUNT, "sum(remora_control_rules)"),
        number("Services", "Services of the mesh.", Unit.COUNT, "sum(pilot_services)"),
        number(
            "Root left",
            "Until the authority's root certificate ends.",
            Unit.SECONDS,
            "min(citadel_server_root_cert_expiry_timestamp) - time()",
            thresholds=(Threshold(None, "red"), Threshold(_DAYS_90, "green")),
            minimum=None,
        ),
        number(
            "Mistakes in snapshots",
            "References of generated configuration that lead nowhere: anything but 0 is a bug of the control plane.",
            Unit.COUNT,
            "sum(remora_control_snapshot_problems)",
            thresholds=SHOULD_BE_ZERO,
        ),
    ),
)

_PUSHES = Row(
    "Changes",
    (
        Panel(
            "Changes by cause",
            "Changes per second of the mesh's state: rules, workloads, certificates.",
            Unit.PER_SECOND,
            (Query(f"sum by (type) (rate(pilot_push_triggers[{WINDOW}]))", "{{type}}"),),
            stacked=True,
        ),
        Panel(
            "Pushes by type",
            "Responses per second sent to proxies: clusters, endpoints, listeners, routes, secrets.",
            Unit.PER_SECOND,
            (Query(f"sum by (type) (rate(pilot_xds_pushes[{WINDOW}]))", "{{type}}"),),
            stacked=True,
        ),
        Panel(
            "Time for a change to arrive",
            "From a change to a proxy's having acknowledged all of it.",
            Unit.SECONDS,
            tuple(
                Query(quantile(q, "pilot_proxy_convergence_time"), name, NO_CHANGE)
                for name, q in (("p50", "0.5"), ("p90", "0.9"), ("p99", "0.99"))
            ),
        ),
        Panel(
            "Distribution of that time",
            "How many proxies took how long to acknowledge a change.",
            Unit.SECONDS,
            (Query(buckets("pilot_proxy_convergence_time"), "{{le}}", NO_CHANGE),),
            kind=Kind.HEATMAP,
        ),
        Panel(
            "Generating and waiting",
            "Quantile 0.99 of the time to generate every proxy's configuration, and of what changes waited for others.",
            Unit.SECONDS,
            (
                Query(quantile("0.99", "pilot_xds_push_time"), "generating", NO_CHANGE),
                Query(quantile("0.99", "pilot_proxy_queue_time"), "waiting", NO_CHANGE),
            ),
        ),
        Panel(
            "Rules by kind",
            "Stored rules.",
            Unit.COUNT,
            (Query("sum by (kind) (remora_control_rules)", "{{kind}}"),),
        ),
    ),
)

_PROXIES = Row(
    "Proxies",
    (
        Panel(
            "Proxies by state",
            "Registered workloads: connected and content, connected and rejecting, not connected.",
            Unit.COUNT,
            (
                Query("sum(pilot_xds) - sum(remora_agent_xds_rejected > bool 0)", "content"),
                Query("sum(remora_agent_xds_rejected > bool 0)", "rejecting"),
                Query("clamp_min(sum(remora_control_workloads) - sum(pilot_xds), 0)", "not connected"),
            ),
            stacked=True,
        ),
        Panel(
            "Acknowledged and refused",
            "Answers of proxies per second: ACK when every worker serves it, NACK with the field that was wrong.",
            Unit.PER_SECOND,
            (
                Query(f"sum(rate(remora_agent_xds_acks_total[{WINDOW}]))", "ACK"),
                Query(f"sum(rate(remora_agent_xds_nacks_total[{WINDOW}]))", "NACK"),
            ),
        ),
        Panel(
            "Refused by type",
            "Responses that a proxy refused, since the control plane began.",
            Unit.COUNT,
            tuple(
                Query(f"sum(pilot_xds_{short}_reject)", short.upper()) for short in ("cds", "eds", "lds", "rds", "sds")
            ),
        ),
        Panel(
            "Proxies without a control plane",
            "They serve what they last accepted; `remora status` says since when.",
            Unit.COUNT,
            (
                Query(
                    "sum by (namespace, workload) (remora_agent_xds_connected == bool 0) > 0",
                    "{{namespace}}/{{workload}}",
                    "every proxy is connected",
                ),
            ),
            link=TO_WORKLOAD,
        ),
        Panel(
            "Proxies that reject",
            "They serve the configuration before; `remora status` says which field, and why.",
            Unit.COUNT,
            (
                Query(
                    "sum by (namespace, workload) (remora_agent_xds_rejected) > 0",
                    "{{namespace}}/{{workload}}",
                    NO_REJECTION,
                ),
            ),
            link=TO_WORKLOAD,
        ),
        Panel(
            "Connections made and failed",
            "Connections per second of proxies to the control plane.",
            Unit.PER_SECOND,
            (
                Query(f"sum(rate(remora_agent_xds_connections_total[{WINDOW}]))", "made"),
                Query(f"sum(rate(remora_agent_xds_failures_total[{WINDOW}]))", "failed"),
                Query(
                    f"sum by (reason) (rate(remora_control_streams_refused_total[{WINDOW}]))",
                    "turned away: {{reason}}",
                    NO_REFUSAL,
                ),
            ),
        ),
    ),
)

_AUTHORITY = Row(
    "Certificates",
    (
        Panel(
            "Signing requests by outcome",
            "Per second: issued, refused, unauthenticated, limited, unavailable.",
            Unit.PER_SECOND,
            (Query(f"sum by (outcome) (rate(remora_control_certificate_requests_total[{WINDOW}]))", "{{outcome}}"),),
            stacked=True,
        ),
        CERTIFICATES_THAT_END_FIRST,
        Panel(
            "Renewals that failed",
            "Attempts per second of agents to get a certificate that came to nothing.",
            Unit.PER_SECOND,
            (Query(f"sum(rate(remora_agent_certificate_failures_total[{WINDOW}]))", "failed"),),
        ),
    ),
)

CONTROL_PLANE = Board(
    CONTROL_PLANE_UID,
    "Remora / Control plane",
    "Does every proxy run the present rules, how soon do changes arrive, and is the authority well.",
    (),
    (_GLANCE, _PUSHES, _PROXIES, _AUTHORITY, the_process("process", _OF_CONTROL)),
    (CHANGES,),
)
