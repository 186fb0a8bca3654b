"""The way into the mesh: its port, its gateway, and whether it leads anywhere yet."""

import asyncio
import http.client
import socket

from remora.failure import Failure
from remora.up.components import SYSTEM_NAMESPACE
from remora.up.options import INGRESS_PORT
from remora.up.sidecar import Sidecar, Workload
from remora.up.sockets import address, listening

NAME = "ingressgateway"
"""What Istio's rules select (`istio: ingressgateway`)."""

POLL_S = 0.05


class Ingress:
    """Holds the port; its sidecar is the gateway."""

    def __init__(self, wanted_port: int | None) -> None:
        """`wanted_port` None: the usual one if it is free, else any. Raises Failure if the one wanted is taken."""
        self._socket = _socket(wanted_port)
        try:
            self.sidecar = Sidecar(
                Workload(
                    name=NAME,
                    namespace=SYSTEM_NAMESPACE,
                    service=None,
                    version="latest",
                    service_account=NAME,
                    # Istio's rules call it 80 in their older form and 8080 in the newer.
                    gateway_ports={"80": self._socket, "8080": self._socket},
                    labels={"app": NAME, "istio": NAME},
                )
            )
        except OSError:
            self._socket.close()
            raise

    @property
    def url(self) -> str:
        """Of the way in, without a path."""
        return f"http://{address(self._socket)}"

    def describe(self) -> dict[str, str]:
        """Its entry in the object of `up --json`."""
        return {"workload": NAME, "namespace": SYSTEM_NAMESPACE} | self.sidecar.describe()

    async def until_reachable(self, path: str) -> None:
        """Return when `path` is answered 200."""
        host, port = self._socket.getsockname()
        while await asyncio.to_thread(_status_of, host, port, path) != http.client.OK:  # noqa: ASYNC110 - it is remote
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Give the ports back."""
        self.sidecar.close()
        self._socket.close()


def _socket(wanted_port: int | None) -> socket.socket:
    try:
        return listening(INGRESS_PORT if wanted_port is None else wanted_port)
    except OSError as error:
        if wanted_port is not None:
            raise Failure(f"--ingress-port {wanted_port}: {error.strerror}: choose another, or 0 for any") from error
        return listening()


def _status_of(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    try:
        connection.request("GET", path, headers={"user-agent": "remora-up/1"})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
