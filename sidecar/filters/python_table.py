"""The filters of a worker that users wrote: made when a snapshot is prepared, kept as long as their rule asks for the
same, closed when the last request has left them."""

import asyncio

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from sidecar.config.messages import Growth, Reading
from sidecar.config.python_filter import PythonFilter
from sidecar.filters.python_alarm import Alarm, NoAlarm
from sidecar.filters.python_live import FilterCounts, Instance, LiveFilter
from sidecar.filters.python_load import load

_Key = tuple[str, str, str, str]


class PythonFilters:
    """Owns instances. `begin` a snapshot, then `commit` it or let it be."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, scope: TaskScope, clock: Clock, alarm: Alarm | None = None
    ) -> None:
        self._loop = loop
        self._scope = scope
        self._clock = clock
        self._alarm: Alarm = alarm if alarm is not None else NoAlarm()
        self._present: dict[_Key, Instance] = {}
        self._counts: dict[str, FilterCounts] = {}

    def begin(self) -> "PreparedFilters":
        """The filters of a snapshot that is being prepared."""
        return PreparedFilters(self)

    def make(self, config: PythonFilter, fresh: dict[_Key, Instance]) -> LiveFilter:
        """Raises UnusableFilter."""
        key = _key(config)
        instance = fresh.get(key) or self._present.get(key)
        if instance is None:
            instance = Instance(config.name, load(config, self._alarm), self._loop, self._alarm)
        fresh[key] = instance
        counts = self._counts.get(config.name)
        if counts is None:
            counts = self._counts[config.name] = FilterCounts()
        return LiveFilter(config, instance, counts, self._loop, self._scope, self._clock, self._alarm)

    def use(self, instances: dict[_Key, Instance]) -> None:
        """These are the present ones; the others end with their last request."""
        self._present = instances
        named = {key[0] for key in instances}
        for name in [name for name, counts in self._counts.items() if name not in named and not _grown(counts)]:
            del self._counts[name]

    def close(self) -> None:
        """Close every instance: the process ends."""
        for instance in self._present.values():
            instance.close()
        self._present = {}

    # metrics

    def growth(self) -> list[Growth]:
        """Counters that grew since the last call."""
        found: list[Growth] = []
        for name, counts in self._counts.items():
            for metric, extra, total in _totals(counts):
                key = metric, extra[0][1] if extra else ""
                by = total - counts.reported.get(key, 0)
                if by:
                    counts.reported[key] = total
                    found.append(Growth(metric, (("filter", name), *extra), by))
        return found

    def readings(self) -> list[Reading]:
        """Gauges of every filter."""
        now = self._clock.monotonic()
        found: list[Reading] = []
        for key, instance in self._present.items():
            labels = (("filter", key[0]),)
            found.append(Reading("remora_filter_pending", labels, float(instance.pending)))
            found.append(Reading("remora_filter_suspended", labels, float(instance.suspended_until > now)))
        return found


class PreparedFilters:
    """Of one snapshot."""

    def __init__(self, table: PythonFilters) -> None:
        self._table = table
        self._instances: dict[_Key, Instance] = {}

    def get(self, config: PythonFilter) -> LiveFilter:
        """The filter, its instance shared with whoever asks for the same. Raises UnusableFilter."""
        return self._table.make(config, self._instances)

    def commit(self) -> None:
        """The snapshot serves."""
        self._table.use(self._instances)


def _key(config: PythonFilter) -> _Key:
    return config.name, config.source, config.class_name, config.config


def _totals(counts: FilterCounts) -> list[tuple[str, tuple[tuple[str, str], ...], int]]:
    return [
        *(("remora_filter_calls_total", (("hook", hook),), total) for hook, total in counts.calls.items()),
        *(("remora_filter_failures_total", (("reason", why),), total) for why, total in counts.failures.items()),
        ("remora_filter_replies_total", (), counts.replies),
        ("remora_filter_duration_microseconds_total", (), counts.micros),
    ]


def _grown(counts: FilterCounts) -> bool:
    return any(
        total != counts.reported.get((metric, extra[0][1] if extra else ""), 0)
        for metric, extra, total in _totals(counts)
    )
