"""A worker that forwards nothing: it speaks the channel and does what the snapshot's version tells it to.

`refuse` refuses; `die` ends while applying; `hang` never answers; `spin` is applied, then the loop stands still;
anything else is applied. Accepts on the sockets that
it is handed and answers each connection with its process id. Run as a script with `--channel-fd N`.
"""

import asyncio
import os
import socket
import sys
from typing import Any

from sidecar.config.messages import (
    AccessLog,
    Applied,
    Apply,
    Drain,
    Drained,
    Growth,
    Inspect,
    Inspected,
    Listen,
    Metrics,
    Ping,
    Pong,
    Ready,
    Refused,
    ToWorker,
)
from sidecar.net.channel import Channel


async def main(fd: int) -> None:
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    servers: list[asyncio.Server] = []

    async def serve(sock: socket.socket) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(str(os.getpid()).encode())
            writer.close()

        servers.append(await asyncio.start_server(answer, sock=sock))

    def on_message(message: Any, fds: list[int]) -> None:
        match message:
            case Listen():
                for each in fds:
                    tasks.add(loop.create_task(serve(socket.socket(fileno=each))))
            case Apply(sequence, snapshot):
                apply(sequence, snapshot.version)
            case Inspect(sequence, what):
                channel.send(Inspected(sequence, f'{{"what": "{what}", "pid": {os.getpid()}}}'))
            case Ping():
                channel.send(Pong())
            case Drain():
                channel.send(AccessLog(1, b"last words"))
                channel.send(Drained(2))
                over.set_result(None)

    def apply(sequence: int, version: str) -> None:
        if version == "refuse":
            channel.send(Refused(sequence, "l", "address", "told to"))
        elif version == "die":
            os._exit(3)
        elif version != "hang":
            growth = Growth("remora_fake_total", (("version", version),), 1)
            channel.send(Metrics((), (growth,), ()))
            channel.send(Applied(sequence))
            if version == "spin":
                while True:
                    pass

    def on_close(error: Exception | None) -> None:
        if not over.done():
            over.set_result(None)

    tasks: set[asyncio.Task[None]] = set()
    channel = Channel(socket.socket(fileno=fd), ToWorker, on_message, on_close)
    channel.send(Ready(os.getpid(), "epoch"))
    await over
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[sys.argv.index("--channel-fd") + 1])))
