"""What servers of the tests have in common: they end with what they have begun."""

import asyncio


async def end(server: asyncio.Server | None, tasks: set[asyncio.Task[None]]) -> None:
    """Accept no more, and cancel those that serve."""
    assert server is not None, "it was started"
    server.close()
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()
