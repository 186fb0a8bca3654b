"""Whose end of a connection it is."""

import os
import socket
import subprocess
import sys

import pytest

from sidecar.agent.peer_user import user_of


@pytest.mark.parametrize(
    ("family", "host", "through"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "IPv4 to a socket of IPv6"],
)
def test_our_own_connection_is_ours(family: socket.AddressFamily, host: str, through: str) -> None:
    with socket.socket(family) as server:
        if ":" in host:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((host, 0))
        server.listen()
        with socket.create_connection((through, server.getsockname()[1])) as client:
            accepted, _ = server.accept()
            with accepted:
                assert user_of(accepted.getpeername()[:2], accepted.getsockname()[:2]) == os.geteuid()
                assert user_of(client.getpeername()[:2], client.getsockname()[:2]) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_somebody_else_is_somebody_else() -> None:
    # A socket belongs to whoever made it; modules are imported before, which the other may not be allowed to read.
    program = (
        "import os, socket, sys\nos.setuid(65534)\nsock = socket.socket()\n"
        "sock.connect(('127.0.0.1', int(sys.argv[1])))\nsock.recv(1)"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", program, str(server.getsockname()[1])]
        server.settimeout(10)
        with subprocess.Popen(command) as process:
            accepted, peer = server.accept()
            with accepted:
                assert user_of(peer, accepted.getsockname()) == 65534
            assert process.wait(10) == 0


def test_a_connection_that_is_not_of_this_machine_is_nobodys() -> None:
    assert user_of(("192.0.2.1", 1), ("127.0.0.1", 2)) is None
