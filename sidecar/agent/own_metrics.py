"""The agent's own metrics, by prometheus-client. Imported at the first scrape: nobody waits for it at the start."""

import os
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from sidecar.agent.vitals import Vital

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class OwnMetrics:
    """Text of `remora_agent_*` and `remora_worker_*`; `vitals` and `pids` are asked at each scrape."""

    def __init__(self, vitals: Callable[[], Iterable[Vital]], pids: Callable[[], list[int]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Vitals(vitals))
        self._registry.register(_Workers(pids))
        ProcessCollector(namespace="remora_agent", registry=self._registry)

    def render(self) -> str:
        return generate_latest(self._registry).decode()


class _Vitals(Collector):
    def __init__(self, vitals: Callable[[], Iterable[Vital]]) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        for vital in self._vitals():
            family = CounterMetricFamily if vital.name.endswith("_total") else GaugeMetricFamily
            yield family(vital.name, vital.help, value=float(vital.value))


class _Workers(Collector):
    """CPU and memory of the worker processes, from /proc."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "remora_worker_resident_memory_bytes", "Resident memory of a worker process.", labels=["worker"]
        )
        cpu = CounterMetricFamily(
            "remora_worker_cpu_seconds", "CPU time that a worker process has used, user and system.", labels=["worker"]
        )
        for index, pid in enumerate(self._pids()):
            try:
                with open(f"/proc/{pid}/stat", "rb") as file:
                    # After the command's name, which may hold anything, in parentheses.
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it ended just now
            memory.add_metric([str(index)], float(int(fields[21]) * _PAGE_BYTES))
            cpu.add_metric([str(index)], (int(fields[11]) + int(fields[12])) / _TICKS)
        yield memory
        yield cpu
