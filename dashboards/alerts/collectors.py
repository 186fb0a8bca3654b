"""Alerts on collectors: what they cannot store, cannot deliver, or give up."""

from collections.abc import Iterator

from dashboards.alerts.rules import Alert

_EXPORTER = "The collector {{ $labels.instance }}, exporter {{ $labels.exporter }}"
_BY = "instance, exporter"


def collector_alerts() -> Iterator[Alert]:
    """Of the embedded store, of exporters with a buffer, of the number of series."""
    yield from _receiving()
    yield from _delivering()
    yield Alert(
        "RemoraSeriesDropped",
        "sum by (instance, limit) (increase(remora_collector_cardinality_dropped_samples_total[10m])) > 0",
        "ticket",
        summary="The collector {{ $labels.instance }} drops samples of new series, over the bound of a "
        "{{ $labels.limit }}",
        description="A label with far too many values: `remora metrics cardinality` shows which. Leave it out with a "
        "relabel processor, or sum over it with aggregate.",
    )


def _receiving() -> Iterator[Alert]:
    yield Alert(
        "RemoraCollectorStalled",
        "max by (instance) (remora_collector_store_stalled) > 0",
        "page",
        summary="The collector {{ $labels.instance }} cannot write",
        description="Nothing is acknowledged meanwhile; senders keep what they have, as far as it fits. Is the disk "
        "full?",
        for_s=60,
    )
    yield Alert(
        "RemoraCollectorBusy",
        "max by (instance) (remora_collector_waiting_batches) > 0",
        "ticket",
        summary="The collector {{ $labels.instance }} makes its senders wait",
        description="More comes than can be stored: more CPU, a quicker disk, a lower sampling rate or a second "
        "collector.",
        for_s=600,
    )
    yield Alert(
        "RemoraCollectorRefuses",
        "sum by (instance, receiver, signal) (rate(remora_collector_refused_records_total[5m])) > 0",
        "ticket",
        summary="The collector {{ $labels.instance }} refuses {{ $labels.signal }} by {{ $labels.receiver }}: "
        "{{ $value | humanize }} a second",
        description="Somebody sends what cannot be stored, or says what is not his to say. The collector's log names "
        "the senders.",
        for_s=600,
    )


def _delivering() -> Iterator[Alert]:
    """Exporters of the settings file, each behind its buffer."""
    yield Alert(
        "RemoraDeliveryLate",
        f"max by ({_BY}) (remora_collector_exporter_oldest_age_seconds) > 600",
        "ticket",
        summary=f"{_EXPORTER}: the oldest record has waited for {{{{ $value | humanizeDuration }}}}",
        description="The back end is down, or slower than what comes. /healthz of the collector has its last answer; "
        "nothing is lost while the buffer has room.",
        for_s=300,
    )
    yield Alert(
        "RemoraDeliveryStalled",
        f"max by ({_BY}) (remora_collector_exporter_stalled) > 0",
        "page",
        summary=f"{_EXPORTER} takes nothing any more",
        description="Its buffer is full, or its disk cannot be written: nothing is acknowledged, and senders keep what "
        "they have as far as it fits. /healthz of the collector says which.",
        for_s=60,
    )
    yield Alert(
        "RemoraDeliveryDropped",
        "sum by (instance, exporter, signal, reason) (increase(remora_collector_exporter_dropped_records_total[10m])) "
        "> 0",
        "page",
        summary=f"{_EXPORTER} gave up {{{{ $value | humanize }}}} {{{{ $labels.signal }}}} in ten minutes",
        description="As its settings say: overflow drops the oldest, or they were older than max_age. Reason: "
        "{{ $labels.reason }}.",
    )
    yield Alert(
        "RemoraDeliveryRefused",
        "sum by (instance, exporter, signal) (increase(remora_collector_exporter_refused_records_total[10m])) > 0",
        "ticket",
        summary=f"{_EXPORTER}: the back end refused {{{{ $value | humanize }}}} {{{{ $labels.signal }}}} for good",
        description="They are in the exporter's dead-letter file, each with the back end's reason.",
    )
    yield Alert(
        "RemoraDeliveryDamaged",
        f"sum by ({_BY}) (increase(remora_collector_exporter_quarantined_segments_total[10m])) > 0",
        "page",
        summary=f"{_EXPORTER}: damaged buffer files were put aside",
        description="A disk that loses what was written to it. The files are in `quarantine` beside the buffer; what "
        "is whole in them was delivered.",
    )
