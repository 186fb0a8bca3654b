"""The agent's sockets: opened before anything else, so that a port in use is one clear line and exit status 1."""

import socket

from mesh.addresses import is_loopback
from sidecar.agent.dns.sockets import open_sockets
from sidecar.agent.sockets import CannotListen, Sockets, address_of, open_socket
from sidecar.bootstrap import Bootstrap
from sidecar.config.endpoint import Address


class Endpoints:
    """Raises CannotListen from the constructor; then nothing stays open."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self.traffic = Sockets()
        self._open: list[socket.socket] = []
        try:
            for place in bootstrap.listen:
                self.traffic.pin(place)
            self.admin = self._keep(open_socket(bootstrap.admin))
            if not is_loopback(address_of(self.admin).host):
                raise CannotListen(bootstrap.admin, "the admin endpoints belong on a loopback address")
            self.metrics = self._keep(open_socket(bootstrap.metrics))
            self.readiness = self._keep(open_socket(bootstrap.readiness)) if bootstrap.readiness is not None else None
            self.dns: list[socket.socket] = []
            if bootstrap.dns_port is not None:
                self.dns = [self._keep(sock) for sock in open_sockets(bootstrap.dns_port)]
        except CannotListen:
            self.close()
            raise
        self.admin_url = f"http://{address_of(self.admin)}"
        self.metrics_url = f"http://{_reachable(address_of(self.metrics))}/metrics"

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._open.append(sock)
        return sock

    def close(self) -> None:
        """All that are still ours."""
        self.traffic.close()
        for sock in self._open:
            sock.close()


def _reachable(address: Address) -> Address:
    """Where a scraper on this machine finds a socket that listens everywhere."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host)  # noqa: S104  compared with, not listened on
    return address if loopback is None else Address(loopback, address.port)
