"""What settings of listening receivers are made of: an address, a certificate. Binding them is here too."""

import contextlib
import socket
import ssl
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from collectors.receivers.file_tls import TlsFiles
from collectors.settings.types import Model, ReadableFile, SecretFile, wrong
from mesh.addresses import is_loopback, parse_host_port

_BACKLOG = 512
_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this machine can come."""
        return is_loopback(self.host)


def _address(value: object) -> Address:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return Address(*parse_host_port(value))
    raise wrong("is no address; write HOST:PORT, such as 127.0.0.1:24224 or [::]:24224; port 0 means any")


ListenAddress = Annotated[Address, BeforeValidator(_address), PlainSerializer(str, return_type=str)]


class ServerTls(Model):
    """`tls:` of a listener with a certificate of its own. New files are taken without a restart."""

    certificate_file: ReadableFile
    """PEM, leaf first."""
    key_file: SecretFile
    """PEM, without a passphrase, mode 0600."""
    client_ca_file: ReadableFile | None = None
    """PEM. Given, senders must show a certificate that one of these signed (mutual TLS)."""
    client_names: tuple[str, ...] = Field(default=(), max_length=1_000)
    """Of the DNS names and URIs in a sender's certificate one must be among these; empty: any will do."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS that senders may speak (grpc: 1.2 only)."""

    def files(self) -> TlsFiles:
        """As the listener wants them."""
        return TlsFiles(
            self.certificate_file, self.key_file.path, self.client_ca_file, minimum=_MINIMUM[self.min_version]
        )


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises OSError that names the address."""
    sock: socket.socket | None = None
    try:
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        # Restarted at once on the same ports, with old connections still in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        sock.listen(_BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from error
    return sock


def bound_address(sock: socket.socket) -> Address:
    """Where it listens."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)
