"""The application's probes and lifecycle hooks, performed for the kubelet: it asks us on 15020, we ask the application.

It would not get through itself: the application's ports are captured, and what arrives there without a certificate of
the mesh is refused where mutual TLS is strict. What the kubelet would do is done here, against the pod's own address;
Istio does the same (pilot/cmd/pilot-agent/status). The connection's source is 127.0.0.6 or ::6, which the capture's
rules leave alone: from any other, what our user sends to the pod's address is taken for the application calling itself,
and goes through the inbound listener.
"""

import asyncio
import errno
import logging
import math
import os
import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import assert_never

from mesh.clock import Clock
from sidecar.agent import app_probe_grpc, app_probe_http
from sidecar.agent.http_server import Request, Response, text
from sidecar.agent.probe_failure import ProbeFailed
from sidecar.pod import AppProbe, GrpcHealth, HttpGet, Pod, TcpSocket

FRESH_S = 0.5
"""Who asks for a probe again so soon is told its latest outcome. The kubelet asks once a second at most; anybody else
who reaches 15020 can have the application asked no more often than this."""

GRACE_S = 1.0
"""The server's own patience is longer than the probe's by this, so that the probe's reason is what is answered."""

SOURCES: Mapping[int, str] = {socket.AF_INET: "127.0.0.6", socket.AF_INET6: "::6"}
AGENT = "kube-probe/remora"
"""For who asks without a user agent of the kubelet's."""

_SUCCESSES = frozenset(each.value for each in HTTPStatus if 200 <= each < 300)
_FAILURES = frozenset(each.value for each in HTTPStatus if each >= 400)
"""Passed on as they are; of others only what they mean."""

_log = logging.getLogger("remora.probes")


class AppProbes:
    """`perform` them. Counts are for metrics."""

    def __init__(self, pod: Pod | None, clock: Clock) -> None:
        self._address = pod.address if pod is not None else ""
        self._probes = {probe.path: probe for probe in pod.probes} if pod is not None else {}
        self._clock = clock
        self._running: dict[str, asyncio.Future[Response]] = {}
        self._latest: dict[str, tuple[float, Response]] = {}
        """By path, with when it was; of probes, not of hooks."""
        self._failing: set[str] = set()
        self.performed = 0
        self.failed = 0
        self.shared = 0
        """Answered by an outcome that somebody else's question had."""

    @property
    def paths(self) -> tuple[str, ...]:
        """What is served."""
        return tuple(self._probes)

    @property
    def hooks(self) -> frozenset[str]:
        """Those of the paths that are told to nobody: what they do has effects."""
        return frozenset(path for path, probe in self._probes.items() if probe.hook is not None)

    @property
    def failing(self) -> int:
        """Probes whose latest outcome was a failure."""
        return len(self._failing)

    def patience_s(self, path: str) -> float | None:
        """How long an answer may take; None for what is no probe."""
        probe = self._probes.get(path)
        return None if probe is None else probe.timeout_s + GRACE_S

    async def page(self, request: Request) -> Response:
        """Perform the probe of this path, which is one of ours. The application's status for `httpGet`, 200 for what
        succeeded otherwise, 503 with the reason for what did not.

        Whoever asks while it is being performed gets that outcome, so that nobody can keep the kubelet's turn from it.
        """
        probe = self._probes[request.path]
        if (known := self._known(probe)) is not None:
            self.shared += 1
            return await known
        done: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._running[probe.path] = done
        response = text("the sidecar is ending\n", 503)
        try:
            response = await self._answer(probe, request)
        finally:
            del self._running[probe.path]
            if probe.hook is None:
                self._latest[probe.path] = self._clock.monotonic(), response
            done.set_result(response)
        return response

    def _known(self, probe: AppProbe) -> asyncio.Future[Response] | None:
        """The outcome that is there, or to be there soon."""
        running = self._running.get(probe.path)
        if running is not None:
            return asyncio.shield(running)
        at, response = self._latest.get(probe.path, (-math.inf, None))
        if response is None or self._clock.monotonic() - at >= FRESH_S:
            return None
        latest: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        latest.set_result(response)
        return latest

    async def _answer(self, probe: AppProbe, request: Request) -> Response:
        agent = request.headers.get("user-agent", "")
        agent = agent if agent.startswith("kube-") and len(agent) < 100 else AGENT
        try:
            async with asyncio.timeout(probe.timeout_s):
                status = await self._perform(probe, agent)
        except TimeoutError:
            return self._failed(probe, f"no answer within {probe.timeout_s:g} s")
        except (ProbeFailed, OSError) as error:  # ssl.SSLError is an OSError
            return self._failed(probe, f"{error}" if isinstance(error, ProbeFailed) else _reason(error))
        if status >= 400:
            return self._failed(probe, f"it answered {status}", status)
        self.performed += 1
        if probe.path in self._failing:
            self._failing.discard(probe.path)
            _log.info("%s succeeds again", probe.shown)
        # A redirect without a Location is none, and the kubelet is content with either.
        return Response(status if status in _SUCCESSES else 200)

    def _failed(self, probe: AppProbe, why: str, status: int = 503) -> Response:
        self.performed += 1
        self.failed += 1
        if probe.path not in self._failing:
            self._failing.add(probe.path)
            _log.warning("%s fails: %s", probe.shown, why)
        return text(f"{why}\n", status if status in _FAILURES else 503)

    async def _perform(self, probe: AppProbe, agent: str) -> int:
        action = probe.action
        match action:
            case HttpGet():
                return await app_probe_http.get(action, self._address, agent, self._dial)
            case TcpSocket():
                _, writer = await self._dial(action.host or self._address, action.port, None)
                writer.transport.abort()
            case GrpcHealth():
                await app_probe_grpc.check(action, self._address, agent, self._dial, self._clock.monotonic)
            case _:
                assert_never(action)
        return 200

    async def _dial(
        self, host: str, port: int, tls: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host != self._address:
            return await asyncio.open_connection(host, port, ssl=tls)  # the network's, as any client's
        sock = _from_beside(host)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            return await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=host if tls else None)
        except BaseException:
            sock.close()
            raise


def _from_beside(host: str) -> socket.socket:
    """A socket to connect to the pod's own address with. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.bind((SOURCES[family], 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            sock.close()
            raise
        # Nobody has set ::6 up, so there are no rules for IPv6 that would capture us.
    return sock


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) or error.errno is None:
        return str(error) or type(error).__name__
    return os.strerror(error.errno)  # event loops word it differently
