"""Scrapes the workloads' metrics, as Prometheus does, from the targets of a file_sd file."""

import asyncio
import json
import logging
import random
from dataclasses import dataclass
from pathlib import Path

import h11

from collectors.pipeline import Consumer, Refused
from collectors.receivers.changes import Changes
from collectors.receivers.exposition import BrokenExposition, Exposition
from collectors.records import Batch, Sample
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.scrape")

MAX_TARGETS = 2_000
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
_ACCEPT = "text/plain;version=0.0.4;q=1"


class ScrapeFailed(Exception):
    """The target did not answer with metrics."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address of targets.json."""

    address: str
    """host:port; the series' `instance`."""
    path: str
    labels: tuple[tuple[str, str], ...]


def parse_targets(text: str) -> frozenset[Target]:
    """Prometheus' file_sd format. Labels that begin with `__` are instructions: `__metrics_path__` is the path.

    Raises ValueError.
    """
    document = json.loads(text)
    if not isinstance(document, list):
        raise ValueError("not a list of target groups")
    targets = set()
    for group in document:
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            raise ValueError("a target group without targets")
        labels = group.get("labels") or {}
        if not isinstance(labels, dict):
            raise ValueError("labels that are no map")
        path = str(labels.get("__metrics_path__", "/metrics"))
        kept = tuple(sorted((str(key), str(value)) for key, value in labels.items() if not str(key).startswith("__")))
        for address in group["targets"]:
            _split(str(address))
            targets.add(Target(str(address), path, kept))
    if len(targets) > MAX_TARGETS:
        raise ValueError(f"{len(targets)} targets, at most {MAX_TARGETS} are scraped")
    return frozenset(targets)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


class Scraper:
    """Follows the file and scrapes each target on its own, spread over the interval."""

    def __init__(
        self,
        file: Path,
        consumer: Consumer,
        telemetry: Telemetry,
        clock: Clock,
        rng: random.Random,
        *,
        interval_s: float = 2.0,
    ) -> None:
        self._file = file
        self._consumer = consumer
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self._interval_s = interval_s
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._stamp: tuple[int, int, int] | None = None

    @property
    def targets(self) -> frozenset[Target]:
        """What is being scraped."""
        return frozenset(self._tasks)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskScope() as scope:
            while True:
                self._reload(scope)
                await asyncio.sleep(min(1.0, self._interval_s))

    def _reload(self, scope: TaskScope) -> None:
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return
            if stat.st_size > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
            targets = parse_targets(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return  # no workload yet
        except (OSError, ValueError) as error:
            _log.error("%s is not read, the targets of before stay: %s", self._file, error)
            return
        self._stamp = stamp
        for gone in self._tasks.keys() - targets:
            self._tasks.pop(gone).cancel()
        for target in targets - self._tasks.keys():
            self._tasks[target] = scope.spawn(self._follow(target), name=f"scrape {target.address}")

    async def _follow(self, target: Target) -> None:
        exposition = Exposition({"instance": target.address, **dict(target.labels)})
        changes = Changes()
        failing = False
        await asyncio.sleep(self._rng.uniform(0, self._interval_s) / 2)
        try:
            while True:
                started = self._clock.monotonic()
                now = self._clock.now()
                try:
                    text = await fetch(target, timeout_s=max(1.0, self._interval_s))
                    samples = changes.read(exposition.read(text), now)
                except (ScrapeFailed, BrokenExposition) as error:
                    if not failing:
                        _log.warning("cannot scrape %s: %s", target.address, error)
                    failing = True
                    samples = changes.failed(now)
                else:
                    if failing:
                        _log.info("scraping %s again", target.address)
                    failing = False
                    if exposition.passed_over:
                        _log.warning("%s shows too many series: %d lines", target.address, exposition.passed_over)
                self._telemetry.scrapes.labels("failed" if failing else "ok").inc()
                await self._store(samples)
                await asyncio.sleep(max(0.0, started + self._interval_s - self._clock.monotonic()))
        finally:
            # The target is gone, or we are: its series end here.
            last = changes.failed(self._clock.now())
            if last:
                await self._store(last)

    async def _store(self, samples: list[Sample]) -> None:
        if not samples:
            return
        try:
            await self._consumer.consume(Batch(samples=samples, size_bytes=500 * len(samples)))
        except Refused as error:
            self._telemetry.refused.labels("scrape", "metrics").inc(len(samples))
            _log.error("%d samples were not stored: %s", len(samples), error)
        else:
            self._telemetry.received.labels("scrape", "metrics").inc(len(samples))


async def fetch(target: Target, *, timeout_s: float) -> str:
    """GET the target's metrics. Raises ScrapeFailed."""
    host, port = _split(target.address)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _exchange(reader, writer, target)
            finally:
                writer.close()
    except TimeoutError as error:
        raise ScrapeFailed(f"no answer within {timeout_s:g} s") from error
    except (OSError, h11.RemoteProtocolError, UnicodeDecodeError) as error:
        raise ScrapeFailed(str(error)) from error


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> str:
    connection = h11.Connection(h11.CLIENT)
    headers = [("host", target.address), ("accept", _ACCEPT), ("connection", "close"), ("user-agent", "remora")]
    request = connection.send(h11.Request(method="GET", target=target.path, headers=headers))
    writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Response):
            if event.status_code != 200:
                raise ScrapeFailed(f"answered {event.status_code}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise ScrapeFailed(f"more than {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return body.decode("utf-8")
        else:
            raise ScrapeFailed("the connection ended early")
