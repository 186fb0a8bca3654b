"""The memory watermark: resident memory against a limit, two marks with hysteresis, Envoy's overload actions.

Pure but for `Watermark`'s three injected functions, of which `sidecar.overload.resident` has the real ones.
https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/overload_manager/overload_manager
"""

import logging
from collections.abc import Callable
from typing import Final

from sidecar.config.messages import Growth, Reading
from sidecar.overload.load import Load

SHED_AT: Final = 0.90
"""Of the limit: new requests are refused from here on ..."""
SHED_UNTIL: Final = 0.85
"""... until memory is back at this."""
CLOSE_AT: Final = 0.95
"""New connections are left waiting from here on ..."""
CLOSE_UNTIL: Final = 0.90
"""... until memory is back at this."""

LOOK_EVERY_S: Final = 0.25
"""A look costs about 10 us. As often as Envoy's example looks."""

RELEASE_EVERY: Final = 8
"""Looks between two requests to the allocator to give back what is free: it walks through all of its heap."""

_ACTION: Final = "envoy_overload_envoy_overload_actions"

log = logging.getLogger(__name__)


class Watermark:
    """`look` now and then: it moves `load`, and calls `changed` when it did."""

    def __init__(
        self, load: Load, resident: Callable[[], int], release: Callable[[], None], changed: Callable[[], None]
    ) -> None:
        """`resident`: bytes that the process uses. `release`: give back to the system what is free."""
        self._load = load
        self._resident = resident
        self._release = release
        self._changed = changed
        self._looks = 0
        self._pressure = 0.0
        self._shed_times = 0
        self._shed_reported = 0

    def look(self) -> None:
        """Measure and act."""
        limit = self._load.limits.memory_bytes
        if not limit:
            return
        self._pressure = self._resident() / limit
        if self._pressure >= SHED_UNTIL:
            # Python and the C library keep what is freed: without this, memory would never be seen to fall.
            if self._looks % RELEASE_EVERY == 0:
                self._release()
                self._pressure = self._resident() / limit
            self._looks += 1
        else:
            self._looks = 0
        self._act()

    def _act(self) -> None:
        load = self._load
        shedding = self._pressure >= (SHED_UNTIL if load.shedding else SHED_AT)
        accepting = self._pressure < (CLOSE_AT if load.accepting else CLOSE_UNTIL)
        if shedding == load.shedding and accepting == load.accepting:
            return
        if shedding and not load.shedding:
            self._shed_times += 1
        load.shedding = shedding
        load.accepting = accepting
        level = logging.WARNING if shedding else logging.INFO
        log.log(level, "memory at %.0f %% of %d MiB: %s", *self._said())
        self._changed()

    def _said(self) -> tuple[float, int, str]:
        load = self._load
        if not load.accepting:
            what = "new requests get 503, new connections wait"
        elif load.shedding:
            what = "new requests get 503"
        else:
            what = "everything is served again"
        return self._pressure * 100.0, load.limits.memory_bytes // 1024**2, what

    def growth(self) -> list[Growth]:
        """How often shedding began since the last call."""
        by = self._shed_times - self._shed_reported
        if not by:
            return []
        self._shed_reported = self._shed_times
        return [Growth("remora_worker_overloads_total", (), by)]

    def readings(self) -> list[Reading]:
        """Envoy's gauges: pressure in percent, actions as 0 or 1. None where there is no limit."""
        load = self._load
        if not load.limits.memory_bytes:
            return []
        values = (
            ("envoy_overload_envoy_resource_monitors_fixed_heap_pressure", round(self._pressure * 100.0)),
            (f"{_ACTION}_stop_accepting_requests_active", load.shedding),
            (f"{_ACTION}_disable_http_keepalive_active", load.shedding),
            (f"{_ACTION}_stop_accepting_connections_active", not load.accepting),
            ("remora_worker_memory_limit_bytes", load.limits.memory_bytes),
        )
        return [Reading(name, (), float(value)) for name, value in values]
