"""The two parts of the measurement, each for a process of its own."""

import argparse
import asyncio

from tests.bench.control.figures import Row
from tests.bench.control.inside import changes, inside, mesh_of
from tests.bench.control.reconnect import reconnect
from tests.bench.control.watching import watching


def from_worlds(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []

    async def measure() -> None:
        world = mesh_of(options.services, options.pods, rows)
        async with inside(world, options.streams, rows) as made:
            await changes(made, options.changes, rows)
            made.leave()
            if options.crowd:
                await reconnect(made, options.crowd, max(1, options.changes // 3), rows)

    asyncio.run(measure())
    return rows


def from_a_cluster(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    asyncio.run(watching(options.services, options.pods, options.streams, options.changes, rows))
    return rows
