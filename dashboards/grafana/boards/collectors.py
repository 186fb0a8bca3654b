"""The collectors: what comes in, what is kept, and whether anything was lost on the way."""

from dashboards.grafana.boards.parts import number, the_process
from dashboards.grafana.boards.reasons import NO_EXPORTER, NO_LOSS
from dashboards.grafana.links import COLLECTORS_UID, TO_WORKLOAD
from dashboards.grafana.model import SHOULD_BE_ZERO, Board, Panel, Query, Row, Threshold, Unit
from dashboards.grafana.promql import WINDOW

_LOST = (
    f"sum(rate(remora_agent_access_log_dropped_total[{WINDOW}])) "
    f"+ sum(rate(remora_agent_spans_dropped_total[{WINDOW}]))"
)

_GLANCE = Row(
    "At a glance",
    (
        number(
            "Received",
            "Records per second: access records and logs, spans, readings of metrics.",
            Unit.PER_SECOND,
            f"sum(rate(remora_collector_received_records_total[{WINDOW}]))",
            width=4,
        ),
        number(
            "Stored",
            "New records per second in the embedded store.",
            Unit.PER_SECOND,
            f"sum(rate(remora_collector_stored_records_total[{WINDOW}]))",
            width=4,
        ),
        number(
            "Dropped by agents",
            "Access records and spans per second that agents gave up, since the collector took none for too long.",
            Unit.PER_SECOND,
            _LOST,
            thresholds=SHOULD_BE_ZERO,
            width=4,
        ),
        number(
            "Waiting",
            "Bytes received and not stored yet: what back-pressure counts.",
            Unit.BYTES,
            "sum(remora_collector_queued_bytes)",
            width=4,
        ),
        number(
            "Stalled",
            "1 while the store cannot be written to: nothing is acknowledged, and senders keep what they have.",
            Unit.COUNT,
            "max(remora_collector_store_stalled)",
            thresholds=SHOULD_BE_ZERO,
            width=4,
        ),
        number(
            "Store",
            "Size of the embedded store in use.",
            Unit.BYTES,
            "sum(remora_collector_store_bytes)",
            width=4,
        ),
    ),
)

_IN = Row(
    "In",
    (
        Panel(
            "Received by receiver and signal",
            "Records per second.",
            Unit.PER_SECOND,
            (
                Query(
                    f"sum by (receiver, signal) (rate(remora_collector_received_records_total[{WINDOW}]))",
                    "{{receiver}} {{signal}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Refused and not the sender's",
            "Records per second answered with an error, and records that named a workload that is not their sender's.",
            Unit.PER_SECOND,
            (
                Query(
                    f"sum by (receiver, signal) (rate(remora_collector_refused_records_total[{WINDOW}]))",
                    "refused: {{receiver}} {{signal}}",
                    NO_LOSS,
                ),
                Query(
                    f"sum by (receiver, signal) (rate(remora_collector_foreign_records_total[{WINDOW}]))",
                    "foreign: {{receiver}} {{signal}}",
                    NO_LOSS,
                ),
                Query(
                    f"sum by (receiver) (rate(remora_collector_lost_records_total[{WINDOW}]))",
                    "lost without an acknowledgement asked: {{receiver}}",
                    NO_LOSS,
                ),
            ),
        ),
        Panel(
            "Connections",
            "Connections per second accepted, and ended by the collector, by reason.",
            Unit.PER_SECOND,
            (
                Query(
                    f"sum by (receiver) (rate(remora_collector_connections_total[{WINDOW}]))", "accepted: {{receiver}}"
                ),
                Query(
                    f"sum by (receiver, reason) (rate(remora_collector_closed_connections_total[{WINDOW}]))",
                    "ended: {{receiver}} {{reason}}",
                    "no connection was ended by the collector",
                ),
            ),
        ),
        Panel(
            "Scrapes by outcome",
            "Targets asked for their metrics, per second.",
            Unit.PER_SECOND,
            (Query(f"sum by (outcome) (rate(remora_collector_scrapes_total[{WINDOW}]))", "{{outcome}}"),),
            stacked=True,
        ),
        Panel(
            "Queue",
            "Bytes received and not stored yet, and batches that wait for room.",
            Unit.BYTES,
            (Query("sum by (instance) (remora_collector_queued_bytes)", "{{instance}}"),),
        ),
        Panel(
            "Batches that wait for room",
            "Above zero, senders are made to wait: the store or a back end is slower than what comes in.",
            Unit.COUNT,
            (Query("sum by (instance) (remora_collector_waiting_batches)", "{{instance}}"),),
        ),
    ),
)

_STORE = Row(
    "The embedded store",
    (
        Panel(
            "Stored by signal",
            "New records per second.",
            Unit.PER_SECOND,
            (Query(f"sum by (signal) (rate(remora_collector_stored_records_total[{WINDOW}]))", "{{signal}}"),),
            stacked=True,
        ),
        Panel(
            "Commits and duplicates",
            "Transactions per second, and records that were there already: an acknowledgement was lost, nothing else.",
            Unit.PER_SECOND,
            (
                Query(f"sum(rate(remora_collector_store_commits_total[{WINDOW}]))", "commits"),
                Query(f"sum(rate(remora_collector_store_duplicate_records_total[{WINDOW}]))", "duplicates"),
                Query(f"sum(rate(remora_collector_store_rejected_records_total[{WINDOW}]))", "not storable"),
                Query(f"sum(rate(remora_collector_store_retained_out_rows_total[{WINDOW}]))", "left by age or size"),
            ),
        ),
        Panel(
            "Size",
            "Of the database in use.",
            Unit.BYTES,
            (Query("sum by (instance) (remora_collector_store_bytes)", "{{instance}}"),),
        ),
    ),
)

_X = "remora_collector_exporter"


def _exporters(title: str, description: str, unit: str, expr: str, legend: str = "{{exporter}}") -> Panel:
    return Panel(title, description, unit, (Query(expr, legend, NO_EXPORTER),))


_EXPORTERS = Row(
    "Back ends",
    (
        _exporters(
            "Sent",
            "Records per second that back ends have stored.",
            Unit.PER_SECOND,
            f"sum by (exporter, signal) (rate({_X}_sent_records_total[{WINDOW}]))",
            "{{exporter}} {{signal}}",
        ),
        _exporters(
            "Waiting in buffers",
            "Bytes on disk that are not delivered: they grow while a back end is away, and shrink when it is back.",
            Unit.BYTES,
            f"sum by (exporter) ({_X}_queue_bytes)",
        ),
        _exporters(
            "Age of what waits longest",
            "How old the oldest record is that was acknowledged and not delivered.",
            Unit.SECONDS,
            f"max by (exporter) ({_X}_oldest_age_seconds)",
        ),
        _exporters(
            "Given up",
            "Records per second refused by the back end for good (dead letters), or dropped since the buffer was full "
            "or they were too old.",
            Unit.PER_SECOND,
            f"sum by (exporter) (rate({_X}_refused_records_total[{WINDOW}])) "
            f"+ sum by (exporter) (rate({_X}_dropped_records_total[{WINDOW}]))",
        ),
        _exporters(
            "Requests by outcome",
            "Requests per second to the back end.",
            Unit.PER_SECOND,
            f"sum by (exporter, outcome) (rate({_X}_requests_total[{WINDOW}]))",
            "{{exporter}} {{outcome}}",
        ),
        Panel(
            "Failing and stalled",
            "Failing: the back end's last answer was a failure. Stalled: nothing can be acknowledged, since the "
            "buffer's disk takes nothing.",
            Unit.COUNT,
            (
                Query(f"max by (exporter) ({_X}_failing)", "{{exporter}} failing", NO_EXPORTER),
                Query(f"max by (exporter) ({_X}_stalled)", "{{exporter}} stalled", NO_EXPORTER),
            ),
        ),
    ),
)

_AGENTS = Row(
    "Agents' side",
    (
        Panel(
            "Access records",
            "Per second: acknowledged by the collector, dropped by agents, attempts that failed.",
            Unit.PER_SECOND,
            (
                Query(f"sum(rate(remora_agent_access_log_acknowledged_total[{WINDOW}]))", "acknowledged"),
                Query(f"sum(rate(remora_agent_access_log_dropped_total[{WINDOW}]))", "dropped"),
                Query(f"sum(rate(remora_agent_access_log_failures_total[{WINDOW}]))", "attempts that failed"),
            ),
        ),
        Panel(
            "Spans",
            "Per second: sent, dropped by agents, attempts that failed.",
            Unit.PER_SECOND,
            (
                Query(f"sum(rate(remora_agent_spans_sent_total[{WINDOW}]))", "sent"),
                Query(f"sum(rate(remora_agent_spans_dropped_total[{WINDOW}]))", "dropped"),
                Query(f"sum(rate(remora_agent_spans_failures_total[{WINDOW}]))", "attempts that failed"),
            ),
        ),
        Panel(
            "Kept by agents until acknowledged",
            "Bytes of access records, by the ten agents that keep most.",
            Unit.BYTES,
            (
                Query(
                    "topk(10, sum by (namespace, workload) (remora_agent_access_log_buffered_bytes))",
                    "{{namespace}}/{{workload}}",
                ),
            ),
            link=TO_WORKLOAD,
        ),
        Panel(
            "Series that were too many",
            "Per second: samples counted under `overflow` since a workload had too many series, and samples that were "
            "no metrics.",
            Unit.PER_SECOND,
            (
                Query(f"sum(rate(remora_agent_metrics_overflowed_total[{WINDOW}]))", "overflowed"),
                Query(f"sum(rate(remora_agent_metrics_malformed_total[{WINDOW}]))", "malformed"),
                Query(f"sum(rate(remora_agent_app_metrics_failures_total[{WINDOW}]))", "applications' that failed"),
            ),
            width=12,
        ),
        Panel(
            "Collector's certificate",
            "Time left; it is renewed at half its life.",
            Unit.SECONDS,
            (
                Query(
                    "(remora_collector_certificate_expiry_timestamp_seconds > 0) - time()",
                    "{{instance}}",
                    "a collector that speaks no TLS has no certificate",
                ),
            ),
            minimum=None,
            thresholds=(Threshold(None, "red"), Threshold(3600, "green")),
            width=12,
        ),
    ),
)

COLLECTORS = Board(
    COLLECTORS_UID,
    "Remora / Collectors",
    "What comes in, what is kept, and whether anything was lost on the way.",
    (),
    (_GLANCE, _IN, _STORE, _EXPORTERS, _AGENTS, the_process("remora_collector_process")),
)
