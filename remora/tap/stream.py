"""The connection to a sidecar's admin endpoint that a tap comes over: opened, read, ended without losing the counts."""

import contextlib
import http.client
import ipaddress
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from remora.failure import Failure
from remora.tap.records import Counts, Exchange, read_line

SILENCE_S = 15.0
"""The sidecar says something every second; when it has been silent for so long it is gone."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Two bodies of 16 MiB in base64, and then some."""


class TapStream:
    """A tap of one sidecar. `stop` may be called at any time, from a signal handler too."""

    def __init__(self, admin: str, wish: Mapping[str, Any]) -> None:
        """`admin`: the sidecar's admin URL. Raises Failure with its reason when it refuses or is not there."""
        host, port = _loopback(admin)
        try:
            self._sock = socket.create_connection((host, port), timeout=SILENCE_S)
        except OSError as error:
            raise Failure(f"the sidecar's admin endpoint {admin} does not answer ({error}): is it running?") from error
        connection = self._connection = http.client.HTTPConnection(host, port)
        # A second descriptor: http.client may close its own once it has the answer's head.
        connection.sock = self._sock.dup()
        self._response: http.client.HTTPResponse | None = None
        try:
            body = json.dumps(wish).encode()
            connection.request("POST", "/tap", body, {"content-type": "application/json"})
            response = self._response = connection.getresponse()
            if response.status != 200:
                reason = response.read(4096).decode(errors="replace").strip()
                raise Failure(f"the sidecar refuses the tap: {reason or response.status}")
            # Its first line says that the tap is open: what is asked from now on is seen.
            response.readline(MAX_LINE_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Failure(f"the sidecar at {admin} broke off: {error}") from error
        except Failure:
            self.close()
            raise

    def __iter__(self) -> Iterator[Exchange | Counts]:
        """Until the last counts, which have `why`. Raises Failure if the sidecar goes away before them."""
        response = self._response
        assert response is not None
        while True:
            try:
                line = response.readline(MAX_LINE_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise Failure(f"the sidecar went away in the middle ({error})") from error
            if not line:
                raise Failure("the sidecar went away in the middle: it was stopped, or its agent died")
            try:
                plain = json.loads(line)
            except ValueError as error:
                raise Failure(f"the sidecar's answer is no JSON: {error}") from error
            item = read_line(plain)
            if item is not None:
                yield item
            if isinstance(item, Counts) and item.why is not None:
                return

    def stop(self) -> None:
        """Ask for the end: what was seen until now still comes, and the counts."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()
        self._connection.close()
        if self._response is not None:
            self._response.close()


def _loopback(admin: str) -> tuple[str, int]:
    """A workload registers its admin URL itself: it shall not make us talk to anyone else."""
    parts = urlsplit(admin)
    try:
        port = parts.port
        loopback = parts.hostname is not None and ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        port, loopback = None, False
    if parts.scheme != "http" or not loopback or port is None or parts.hostname is None:
        raise Failure(f"the workload's admin endpoint is {admin or 'not known'}: it can be tapped on its machine only")
    return parts.hostname, port
