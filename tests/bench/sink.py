"""A collector that keeps nothing: acknowledges forward-protocol chunks, answers OTLP exports, counts both.

It stands in for the real collector, which on the load's core would slow the load down. `python -m tests.bench.sink`.
"""

import argparse
import asyncio
import json
import random
import signal
from pathlib import Path
from typing import Any

import grpc
import msgpack
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.identity import Authority, Identity
from collectors.tls import ServerTls, server_credentials
from mesh.clock import SystemClock

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Counts:
    """What came in; shown on a line of standard output at the end."""

    def __init__(self) -> None:
        self.records = 0
        self.spans = 0


class Forward(asyncio.Protocol):
    """PackedForward with acks; entries stay the bytes that they are."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._unpacker = msgpack.Unpacker(max_buffer_size=64 * 1024 * 1024)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unpacker.feed(data)
        for _, _, options in self._unpacker:
            self._counts.records += options["size"]
            self._transport.write(msgpack.packb({"ack": options["chunk"]}))


def _otlp_server(counts: Counts) -> Any:
    async def export(request: bytes, context: Any) -> bytes:
        for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
            counts.spans += sum(len(scope.spans) for scope in resource.scope_spans)
        return b""

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),))
    return server


async def _main(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    counts = Counts()
    server = _otlp_server(counts)
    if arguments.csr:
        authority = Authority(arguments.csr, None, Path(arguments.root), Path(arguments.token_file))
        identity = Identity(authority, SystemClock(), random.Random())
        await identity.obtain(deadline_s=10)
        tls = ServerTls(identity.credentials)
        host, _, port = arguments.forward.rpartition(":")
        await loop.create_server(lambda: Forward(counts), host, int(port), ssl=tls.context)
        server.add_secure_port(arguments.otlp, server_credentials(lambda: identity.credentials))
    else:
        server.add_insecure_port(arguments.otlp)
    await server.start()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await stop.wait()
    print(json.dumps({"records": counts.records, "spans": counts.spans}), flush=True)
    await server.stop(None)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otlp", required=True, metavar="HOST:PORT")
    parser.add_argument("--forward", metavar="HOST:PORT")
    parser.add_argument("--csr", metavar="HOST:PORT", help="where to get a certificate; without: plaintext OTLP only")
    parser.add_argument("--root", metavar="FILE")
    parser.add_argument("--token-file", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_main(_parse()))
