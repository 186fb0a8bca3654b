"""Sends access records by the forward protocol as fast as they are acknowledged (python -m tests.bench.collect.sender).

Records are as a busy sidecar sends them: 200 in a PackedForward message, ids of their own. Messages are made once; for
each sending only the numbers in their ids are written anew, so that this costs little beside what is measured.
Prints one line of JSON: records acknowledged, and the seconds it took.
"""

import argparse
import asyncio
import json
import random
import time

import msgpack

from tests.bench.collect.records import CHUNK, message

_DIGITS = 12
_NUMBER = b"#" * _DIGITS


class Template:
    """A message with places for numbers."""

    def __init__(self, rng: random.Random, now: float) -> None:
        self._data = bytearray(message(rng, now, [_NUMBER.decode()] * CHUNK, f"chunk{_NUMBER.decode()}"))
        self._places: list[int] = []
        at = self._data.find(_NUMBER)
        while at >= 0:
            self._places.append(at)
            at = self._data.find(_NUMBER, at + _DIGITS)
        # One for the chunk's own id, which comes last.
        assert len(self._places) == CHUNK + 1

    def numbered(self, first: int) -> bytes:
        """Its records are `first` and the following."""
        data = self._data
        for number, at in enumerate(self._places, first):
            data[at : at + _DIGITS] = b"%012d" % number
        return bytes(data)


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
        writer.write(templates[first // CHUNK % len(templates)].numbered(first))
        await writer.drain()
    ended.set()
    if numbers.acknowledged < numbers.total:
        await asyncio.wait((reading,), timeout=60)
    reading.cancel()
    writer.close()


async def _run(options: argparse.Namespace) -> None:
    rng, now = random.Random(options.seed), time.time()
    templates = [Template(rng, now) for _ in range(16)]
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
