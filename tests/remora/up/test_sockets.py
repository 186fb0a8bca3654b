"""Ports are ours from the moment that they are named."""

import random
import socket
from pathlib import Path

import pytest

from remora.up import sockets


def test_a_socket_takes_connections_before_anyone_accepts_them() -> None:
    with sockets.listening() as sock, socket.create_connection(sock.getsockname(), timeout=5):
        assert sockets.address(sock) == f"127.0.0.1:{sock.getsockname()[1]}"


def test_a_port_that_is_taken_is_an_error() -> None:
    with sockets.listening() as sock:
        port = sock.getsockname()[1]
        assert not sockets.is_free(port)
        with pytest.raises(OSError):
            sockets.listening(port)


def test_free_ports_are_different_and_below_those_of_outgoing_connections() -> None:
    ports = sockets.free_ports(20, random.Random(1))
    assert len(set(ports)) == 20
    assert all(20_000 < port < 32_000 and sockets.is_free(port) for port in ports)


def test_free_ports_leave_out_the_taken_ones() -> None:
    first = sockets.free_ports(1, random.Random(7))[0]
    with sockets.listening(first):
        assert first not in sockets.free_ports(5, random.Random(7))


def test_ports_are_the_same_the_next_time_unless_taken(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = sockets.choose_ports(memory, ("ads", "rest"), random.Random(1))
    assert sockets.choose_ports(memory, ("ads", "rest"), random.Random(2)) == first
    with sockets.listening(first["ads"]):
        third = sockets.choose_ports(memory, ("ads", "rest"), random.Random(3))
    assert third["rest"] == first["rest"]
    assert third["ads"] not in first.values()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ads": "x", "rest": 99999}', '{"ads": 25000, "rest": 25000}'])
def test_a_damaged_memory_of_ports_is_replaced(tmp_path: Path, content: str) -> None:
    memory = tmp_path / "ports.json"
    memory.write_text(content)
    chosen = sockets.choose_ports(memory, ("ads", "rest"), random.Random(1))
    assert len(set(chosen.values())) == 2
    assert sockets.choose_ports(memory, ("ads", "rest"), random.Random(2)) == chosen
