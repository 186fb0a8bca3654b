"""Bookinfo on this machine: which processes, in which versions, with which environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from remora.up.child import Command
from remora.up.processes import PYTHON
from remora.up.sidecar import Sidecar, Workload
from remora.up.sockets import address, listening

SERVICE_PORT = 9080


@dataclass(frozen=True, slots=True)
class Sample:
    """One version of a Bookinfo service."""

    service: str
    version: str
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of workload and processes: `reviews-v2`."""
        return f"{self.service}-{self.version}"


BOOKINFO: tuple[Sample, ...] = (
    Sample("productpage", "v1"),
    Sample("details", "v1"),
    Sample("reviews", "v1", {"ENABLE_RATINGS": "false"}),
    Sample("reviews", "v2", {"ENABLE_RATINGS": "true", "STAR_COLOR": "black"}),
    Sample("reviews", "v3", {"ENABLE_RATINGS": "true", "STAR_COLOR": "red"}),
    Sample("ratings", "v1"),
)


class Application:
    """One sample process and the sidecar beside it."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._socket: socket.socket = listening()
        self.sidecar = Sidecar(
            Workload(
                name=sample.name,
                namespace="default",
                service=sample.service,
                version=sample.version,
                service_account=f"bookinfo-{sample.service}",
                service_port=SERVICE_PORT,
                app=address(self._socket),
                labels={"app": sample.service, "version": sample.version},
            )
        )

    async def prepare(self) -> Command:
        """The application's command line; its proxy is the sidecar's outbound listener."""
        fd = self._socket.fileno()
        env = proxied(os.environ, self.sidecar.outbound) | {**self.sample.environ, "HOSTNAME": self.sample.name}
        return Command([*PYTHON, "remora.samples.bookinfo", self.sample.service, "--fd", str(fd)], env, (fd,))

    def close(self) -> None:
        """Give the ports back."""
        self._socket.close()
        self.sidecar.close()


def proxied(environ: Mapping[str, str], outbound: str, *, https: bool = False) -> dict[str, str]:
    """`environ` with the sidecar as the way to everything but this machine itself. `https`: by https:// too, for which
    it is asked for a tunnel; then only hosts that the mesh knows are reached so.

    CGI programs must not trust HTTP_PROXY, and some clients read one case only: both are set.
    """
    set_here = ("http_proxy", "no_proxy", "https_proxy") if https else ("http_proxy", "no_proxy")
    own = {name: value for name, value in environ.items() if name.lower() not in set_here}
    for name in set_here:
        own[name] = own[name.upper()] = "localhost,127.0.0.1,::1" if name == "no_proxy" else f"http://{outbound}"
    return own
