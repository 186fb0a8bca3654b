"""The sink of remote write: a batch in shards, each series in one, each shard in requests that follow each other.

Prometheus takes a request whole or not at all: one sample that is out of order makes it refuse thousands that are not.
So a request that is refused is sent again in halves, until what is to blame is alone.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

import cramjam

from collectors.exporters.http import excerpt
from collectors.exporters.remote_write.encoding import Encoder
from collectors.exporters.sink import Outcome, Refusal, TooLarge, Unavailable
from collectors.records import Batch, Sample

_log = logging.getLogger("remora.remote_write")

HEADERS = {"content-encoding": "snappy", "x-prometheus-remote-write-version": "0.1.0", "user-agent": "remora"}
CONTENT_TYPE = "application/x-protobuf"

MAX_REQUESTS = 200
"""For one shard of one batch. Where many samples are bad, looking for them goes on after a while, with what is left:
nothing is refused that was not refused alone."""


class Poster(Protocol):
    """As collectors.exporters.http.HttpBackend."""

    async def post(self, path: str, body: bytes, content_type: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and answer. Raises Unavailable, TooLarge."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Shard:
    """What became of one shard."""

    requests: int = 0
    stored: int = 0
    refused: list[Refusal] = field(default_factory=list)
    again: list[Sample] = field(default_factory=list)
    unavailable: Unavailable | None = None


class RemoteWriteSink:
    """See sink.Sink."""

    def __init__(self, backend: Poster, encoder: Encoder, *, shards: int, max_series: int) -> None:
        """`max_series`: of one request; a histogram counts as one for each of its buckets."""
        self._backend = backend
        self._encoder = encoder
        self._shards = shards
        self._max_series = max_series

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink."""
        shards = [shard for shard in _sharded(batch.samples, self._shards) if shard]
        results = await asyncio.gather(*(self._send_shard(shard) for shard in shards))
        outcome = Outcome(refused=[each for result in results for each in result.refused])
        for result in results:
            outcome.again.samples += result.again
            if result.unavailable is not None and (wait_s := result.unavailable.retry_after_s) is not None:
                outcome.retry_after_s = max(wait_s, outcome.retry_after_s or 0.0)
        failed = [result.unavailable for result in results if result.unavailable is not None]
        if failed and len(outcome.again) == len(batch.samples):
            raise Unavailable(str(failed[0]), retry_after_s=outcome.retry_after_s)
        if failed:
            _log.warning("%d of %d samples come again: %s", len(outcome.again), len(batch.samples), failed[0])
        return outcome

    async def close(self) -> None:
        """See sink.Sink."""
        await self._backend.close()

    async def _send_shard(self, samples: Sequence[Sample]) -> _Shard:
        result = _Shard()
        waiting = list(_requests(samples, self._max_series))[::-1]
        while waiting:
            part = waiting.pop()
            # In order: nothing newer before what could not be sent.
            if result.refused and result.requests >= MAX_REQUESTS:
                result.again = [*part, *(each for later in reversed(waiting) for each in later)]
                break
            try:
                why = await self._post(part, result)
            except Unavailable as error:
                result.unavailable = error
                result.again = [*part, *(each for later in reversed(waiting) for each in later)]
                break
            if not why:
                result.stored += len(part)
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                result.refused += [Refusal(sample, why) for sample in part]
        return result

    async def _post(self, part: Sequence[Sample], result: _Shard) -> str:
        """Why it was refused; the empty text: it is stored. Raises Unavailable."""
        result.requests += 1
        body, _ = self._encoder.encode(part)
        compressed = bytes(cramjam.snappy.compress_raw(body))
        try:
            status, answer = await self._backend.post("", compressed, CONTENT_TYPE, HEADERS)
        except TooLarge as error:
            return str(error)
        if status < 300:
            return ""
        said = f"answered {status}: {excerpt(answer)}"
        if status >= 500:
            # The specification: 5xx is to be sent again, whatever it is.
            raise Unavailable(said)
        return said


def _sharded(samples: Iterable[Sample], count: int) -> list[list[Sample]]:
    """By series, so that each stays in order. Not by hash(), which is another one in each process."""
    shards: list[list[Sample]] = [[] for _ in range(count)]
    if count == 1:
        shards[0].extend(samples)
        return shards
    for sample in samples:
        key = "\0".join((sample.name, *(value for _, value in sample.labels)))
        shards[crc32(key.encode("utf-8", "replace")) % count].append(sample)
    return shards


def _requests(samples: Sequence[Sample], max_series: int) -> Iterable[Sequence[Sample]]:
    """Cut in order, so that no request has more than `max_series` series, unless one histogram alone does."""
    begin = size = 0
    for index, sample in enumerate(samples):
        weight = 1 if sample.histogram is None else len(sample.histogram.bounds) + 2
        if size and size + weight > max_series:
            yield samples[begin:index]
            begin, size = index, 0
        size += weight
    if begin < len(samples):
        yield samples[begin:]
