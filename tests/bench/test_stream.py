"""The load for connections that carry bytes, against its own upstream and against one that loses some."""

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.cases import LOAD_CORE
from tests.bench.processes import Process, free_port
from tests.bench.stream import Wrong, bulk, echo


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    argv = [sys.executable, "-m", "tests.bench.stream", "upstream", str(port)]
    process = Process(argv, core=LOAD_CORE, log=tmp_path / "log")
    try:
        process.wait_for_port(port)
        yield port
    finally:
        process.stop()


def test_bulk_counts_what_arrived(upstream: int) -> None:
    figures = bulk(upstream, 3, 0.1)
    assert figures["bytes"] > 1_000_000
    assert figures["seconds"] >= 0.1


def test_echoes_are_counted_and_timed(upstream: int) -> None:
    figures = echo(upstream, 4, 64, 0.1)
    assert figures["messages"] > 100
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_bytes_that_are_lost_are_no_figure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def lose() -> None:
            accepted, _ = listener.accept()
            with accepted:
                while accepted.recv(1 << 20):
                    pass
                accepted.sendall((5).to_bytes(8, "big"))

        thread = threading.Thread(target=lose)
        thread.start()
        with pytest.raises(Wrong, match=r"5 of [0-9]+ bytes arrived"):
            bulk(listener.getsockname()[1], 1, 0.05)
        thread.join()
