"""Sends access records by the forward protocol as fast as they are acknowledged (python -m tests.bench.collect.sender).

Records are as a busy sidecar sends them: 200 in a PackedForward message, with ids, trace ids and request ids that no
other has, and of the time at which they are sent. Messages are made once; for each sending only those are written anew,
so that this costs little beside what is measured.
Prints one line of JSON: records acknowledged, and the seconds it took.
"""

import argparse
import asyncio
import json
import random
import re
import struct
import time
from functools import lru_cache

import msgpack

from tests.bench.collect.records import CHUNK, message

_DIGITS = 12
_NUMBER = b"#" * _DIGITS
_TIME = re.compile(rb"\xd7\x00(?=.{8}\xde)", re.DOTALL)
"""In front of an EventTime's eight bytes; a map follows."""
_EVENT_TIME = struct.Struct(">II")
_OWN = re.compile(rb"\xbb(?=20[0-9-]{8}T)|\xd9\x24(?=[0-9a-f]{8}-)|\xd9\x20(?=[0-9a-f]{32})|\xb0(?=[0-9a-f]{16})")
"""In front of what else is a record's own, in its order: start time, request id, trace id, span id."""
_OWN_TEXTS = 4


class Template:
    """A message with places for what differs from one sending to the next."""

    def __init__(self, rng: random.Random, now: float, workload: str = "productpage-v1") -> None:
        self._rng = rng
        numbers = [_NUMBER.decode()] * CHUNK
        self._data = bytearray(message(rng, now, numbers, f"chunk{_NUMBER.decode()}", workload=workload))
        self._numbers = [match.start() for match in re.finditer(re.escape(_NUMBER), self._data)]
        self._times = [match.end() for match in _TIME.finditer(self._data)]
        own = [match.end() for match in _OWN.finditer(self._data)]
        self._own = list(zip(*(own[each::_OWN_TEXTS] for each in range(_OWN_TEXTS)), strict=True))
        # One for the chunk's own id, which comes last.
        assert len(self._numbers) == CHUNK + 1
        assert len(self._times) == len(self._own) == CHUNK

    def numbered(self, first: int, now: float) -> bytes:
        """Its records are `first` and the following, of the time `now`, in seconds since the epoch."""
        data = self._data
        for number, at in enumerate(self._numbers, first):
            data[at : at + _DIGITS] = b"%012d" % number
        time_us = round(now * 1e6)
        digits = self._rng.randbytes(32 * CHUNK).hex().encode()
        for number, (at, places) in enumerate(zip(self._times, self._own, strict=True)):
            seconds, microseconds = divmod(time_us + number, 1_000_000)
            _EVENT_TIME.pack_into(data, at, seconds, microseconds * 1_000)
            one = digits[64 * number : 64 * number + 64]
            request = b"-".join((one[:8], one[8:12], one[12:16], one[16:20], one[20:32]))
            texts = (_date(seconds) + b".%06dZ" % microseconds, request, one[32:], one[32:48])
            for place, text in zip(places, texts, strict=True):
                data[place : place + len(text)] = text
        return bytes(data)


@lru_cache(maxsize=8)
def _date(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()


class _Numbers:
    def __init__(self, total: int) -> None:
        self.next = 0
        self.total = total
        self.acknowledged = 0

    def take(self) -> int | None:
        """The first number of a message; None: all are given out."""
        if self.next >= self.total:
            return None
        self.next += CHUNK
        return self.next - CHUNK


async def _connection(host: str, port: int, numbers: _Numbers, templates: list[Template], window: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    room = asyncio.Semaphore(window)
    sent = 0
    ended = asyncio.Event()

    async def acknowledgements() -> None:
        unpacker = msgpack.Unpacker()
        received = 0
        while not (ended.is_set() and received == sent):
            data = await reader.read(65_536)
            if not data:
                raise ConnectionError("closed without an acknowledgement")
            unpacker.feed(data)
            for _ in unpacker:
                received += 1
                numbers.acknowledged += CHUNK
                room.release()

    reading = asyncio.ensure_future(acknowledgements())
    while (first := numbers.take()) is not None:
        await room.acquire()
        sent += 1
        if numbers.next >= numbers.total:
            ended.set()
        writer.write(templates[first // CHUNK % len(templates)].numbered(first, time.time()))
        await writer.drain()
    ended.set()
    if numbers.acknowledged < numbers.total:
        await asyncio.wait((reading,), timeout=60)
    reading.cancel()
    writer.close()


async def _run(options: argparse.Namespace) -> None:
    rng, now = random.Random(options.seed), time.time()
    # One in sixteen is of another workload, so that to search one is to leave something out.
    templates = [Template(rng, now, f"productpage-v{2 if number == 0 else 1}") for number in range(16)]
    numbers = _Numbers(options.records // CHUNK * CHUNK)
    host, _, port = options.to.rpartition(":")
    began = time.monotonic()
    await asyncio.gather(
        *(_connection(host, int(port), numbers, templates, options.window) for _ in range(options.connections))
    )
    print(json.dumps({"records": numbers.acknowledged, "seconds": time.monotonic() - began}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("to", metavar="HOST:PORT")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--window", type=int, default=4, help="messages on their way (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
