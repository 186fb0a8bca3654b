"""Certificates and keys that a gateway's configuration names by file, `file-cert:CERTIFICATE~KEY` and
`file-root:AUTHORITIES` as Istio writes it: read here, beside the gateway, so that no key goes over the network."""

import os
import stat
from collections.abc import Iterable

from sidecar.config.listener import Listener
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.xds.decode_tls import FILE_CERTIFICATE, FILE_ROOT

MAX_FILE_BYTES = 1024 * 1024
"""No chain and no bundle of authorities is longer."""


class UnreadableSecret(Exception):
    """A file that is named and can not be read. The text names the listener's secret and why, never its content."""

    def __init__(self, listener: str, reason: str) -> None:
        super().__init__(reason)
        self.listener = listener
        self.reason = reason


def read_secrets(listeners: Iterable[Listener]) -> tuple[tuple[Certificate, ...], tuple[TrustAnchors, ...]]:
    """What these listeners name. Raises UnreadableSecret."""
    certificates: dict[str, Certificate] = {}
    anchors: dict[str, TrustAnchors] = {}
    for listener, name in _named(listeners):
        if name.startswith(FILE_CERTIFICATE) and name not in certificates:
            chain, _, key = name.removeprefix(FILE_CERTIFICATE).partition("~")
            certificates[name] = Certificate(name, _read(listener, chain), _read(listener, key))
        elif name.startswith(FILE_ROOT) and name not in anchors:
            anchors[name] = TrustAnchors(name, _read(listener, name.removeprefix(FILE_ROOT)))
    return tuple(certificates.values()), tuple(anchors.values())


def fingerprint(listeners: Iterable[Listener]) -> tuple[tuple[str, int, int], ...]:
    """Changes when one of the files does: path, time of change in nanoseconds, size; zeros where there is none."""
    paths: set[str] = set()
    for _, name in _named(listeners):
        if name.startswith(FILE_CERTIFICATE):
            paths.update(name.removeprefix(FILE_CERTIFICATE).split("~"))
        elif name.startswith(FILE_ROOT):
            paths.add(name.removeprefix(FILE_ROOT))
    return tuple((path, *_stamp(path)) for path in sorted(paths))


def _named(listeners: Iterable[Listener]) -> Iterable[tuple[str, str]]:
    for listener in listeners:
        for chain in listener.chains:
            if chain.tls is not None:
                yield listener.name, chain.tls.certificate
                if chain.tls.validation is not None:
                    yield listener.name, chain.tls.validation


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _read(listener: str, path: str) -> str:
    try:
        # Without O_NONBLOCK a named pipe would keep us waiting for whoever writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UnreadableSecret(listener, f"{path} is no file")
            with os.fdopen(fd, "rb", closefd=False) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(fd)
        if len(content) > MAX_FILE_BYTES:
            raise UnreadableSecret(listener, f"{path} is longer than {MAX_FILE_BYTES} bytes")
        return content.decode("ascii")
    except OSError as error:
        raise UnreadableSecret(listener, f"{path} can not be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UnreadableSecret(listener, f"{path} is no PEM file") from None
