"""Where the figures come from: the embedded store, or a Prometheus that scrapes the mesh."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Protocol

import httpx

from collectors.store import Reader, StoreError
from mesh.clock import Clock
from remora.custom_metrics.load import Load, Loads, Subject

TIMEOUT_S = 8.0
"""An autoscaler waits 30 s; better no answer than one that is older than the question."""
KEEP_S = 5.0
"""Many autoscalers ask at about the same time: one look answers them all."""


class Unavailable(Exception):
    """No figures at present; the message says why."""


class Source(Protocol):
    """What is kept of every subject of a kind."""

    async def loads(self, subject: Subject) -> Loads:
        """Raises Unavailable."""


class StoreSource:
    """The embedded store, which the collector beside us writes."""

    def __init__(self, open_store: Callable[[], Reader], clock: Clock, window_s: float) -> None:
        self._open = open_store
        self._reader: Reader | None = None
        self._clock = clock
        self._window_s = window_s
        self._turn = asyncio.Lock()

    async def loads(self, subject: Subject) -> Loads:
        async with self._turn:  # a reader is one connection
            return await asyncio.to_thread(self._read, subject)

    def _read(self, subject: Subject) -> Loads:
        now = self._clock.now()
        try:
            if self._reader is None:
                self._reader = self._open()
            if subject is Subject.SERVICE:
                services = self._reader.services(now, self._window_s)
                return {(one.namespace, one.name): _load(one) for one in services}
            if subject is Subject.WORKLOAD:
                workloads = self._reader.workloads(now, self._window_s)
                return {(one.namespace, one.workload): _load(one) for one in workloads}
            targets = self._reader.targets(now, self._window_s)
            return {(one.namespace, one.workload): _load(one) for one in targets}
        except StoreError as error:
            raise Unavailable(f"the store cannot be read: {error}") from error

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


def _load(summary: Any) -> Load:
    """Of one of the store's summaries."""
    ratio = summary.error_rate if summary.requests_per_s > 0 else None
    return Load(summary.requests_per_s, ratio, summary.p50_ms, summary.p99_ms)


_BY = {
    Subject.POD: ("namespace", "workload"),  # labels of the target: docs/metrics.md
    Subject.WORKLOAD: ("destination_workload_namespace", "destination_workload"),
    Subject.SERVICE: ("destination_service_namespace", "destination_service_name"),
}
_FAILED = '{reporter="destination",response_code=~"5.."}'
_ALL = '{reporter="destination"}'


class PrometheusSource:
    """A Prometheus whose targets are the mesh's, as `remora metrics prometheus-config` has them."""

    def __init__(self, http: httpx.AsyncClient, window_s: float) -> None:
        """`http` has the server's base URL."""
        self._http = http
        self._window = f"{max(1, round(window_s))}s"

    async def loads(self, subject: Subject) -> Loads:
        by = ", ".join(_BY[subject])
        rate = f"sum by ({by}) (rate(istio_requests_total%s[{self._window}]))"
        buckets = f"rate(istio_request_duration_milliseconds_bucket{_ALL}[{self._window}])"
        slow = f"histogram_quantile(%s, sum by ({by}, le) ({buckets}))"
        asked = (rate % _ALL, rate % _FAILED, slow % "0.5", slow % "0.99")
        requests, failed, p50, p99 = await asyncio.gather(*(self._ask(one, subject) for one in asked))
        return {
            key: Load(rate, failed.get(key, 0.0) / rate if rate > 0 else None, p50.get(key), p99.get(key))
            for key, rate in requests.items()
        }

    async def _ask(self, expression: str, subject: Subject) -> dict[tuple[str, str], float]:
        """An instant query's values. Raises Unavailable."""
        try:
            answer = await self._http.post("api/v1/query", data={"query": expression}, timeout=TIMEOUT_S)
            answer.raise_for_status()
            said = answer.json()["data"]["result"]
            found = {}
            for one in said:
                value = float(one["value"][1])
                if math.isfinite(value):
                    namespace, name = (str(one["metric"].get(label, "")) for label in _BY[subject])
                    found[namespace, name] = value
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
            raise Unavailable(f"Prometheus gives no answer: {str(error) or type(error).__name__}") from error
        return found


class Kept:
    """Answers for some seconds from one look."""

    def __init__(self, source: Source, clock: Clock, keep_s: float = KEEP_S) -> None:
        self._source = source
        self._clock = clock
        self._keep_s = keep_s
        self._known: dict[Subject, tuple[float, Loads]] = {}
        self._turns = {subject: asyncio.Lock() for subject in Subject}

    async def loads(self, subject: Subject) -> Loads:
        """Raises Unavailable."""
        async with self._turns[subject]:
            known = self._known.get(subject)
            now = self._clock.monotonic()
            if known is None or now - known[0] >= self._keep_s:
                known = self._known[subject] = (now, await self._source.loads(subject))
            return known[1]
