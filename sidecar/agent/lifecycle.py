"""When a pod's sidecar leaves after it was told to: not before the application, not after the grace period.

In the classic form the kubelet sends SIGTERM to all containers at once, and nobody tells the sidecar when the others
have ended: Kubernetes' own status does not, since the kubelet reports a terminating pod when all of it has ended. Istio
waits five seconds, or until there are no connections; an application that shuts down longer, or that makes its last
requests on new connections, is cut off (docs/pods.md). Here the sidecar stays as long as somebody else has a socket in
the pod, which is what a process that uses the network has.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from mesh.clock import Clock
from sidecar.agent.pod_sockets import describe
from sidecar.pod import Form, Pod, Stay

LOOK_EVERY_S = 0.25
QUIET_S = 2.0
"""The pod must have been without sockets of others for so long: between two requests an application may have none."""

LAST_S = 3.0
"""What ending takes at most: requests are cut off after 1 s, records get 2 s to be delivered."""

LAST_DRAIN_S = 1.0

_log = logging.getLogger("remora.lifecycle")


class Departure:
    """Decides when to go. `wait` once, after SIGTERM."""

    def __init__(self, pod: Pod | None, sockets: Callable[[], Mapping[str, int]], clock: Clock) -> None:
        self._pod = pod
        self._sockets = sockets
        self._clock = clock
        self._now = asyncio.Event()
        self._began: float | None = None
        self.waiting = False
        """The application is waited for."""
        self.outlived: bool | None = None
        """Whether the application had ended when we left; None: not known, or not yet."""

    @property
    def stays(self) -> bool:
        """Whether SIGTERM is not the end: the application may still need the network."""
        return self._pod is not None and self._pod.form is Form.CLASSIC

    def go(self) -> None:
        """Wait no more: whoever knows says that the application has ended, or does not want to wait."""
        self._now.set()

    async def wait(self) -> None:
        """Return when it is time to go."""
        pod = self._pod
        if pod is None or not self.stays or self._now.is_set():
            return
        self._began = self._clock.monotonic()
        self.waiting = True
        try:
            async with asyncio.timeout(max(0.0, pod.grace_s - LAST_S)):
                await self._until_alone(pod)
        except TimeoutError:
            self.outlived = False if pod.stay is Stay.APPLICATION else None
            _log.log(
                logging.WARNING if pod.stay is Stay.APPLICATION else logging.INFO,
                "the pod's grace period of %g s is nearly over; leaving", pod.grace_s,
            )  # fmt: skip
        finally:
            self.waiting = False

    def drain_s(self, usual_s: float) -> float:
        """How long what is under way may still take, at most `usual_s`."""
        if self._pod is None or self._began is None:
            return usual_s
        left_s = self._pod.grace_s - (self._clock.monotonic() - self._began) - (LAST_S - LAST_DRAIN_S)
        return max(min(usual_s, left_s), min(usual_s, LAST_DRAIN_S))

    async def _until_alone(self, pod: Pod) -> None:
        if pod.stay is Stay.GRACE:
            _log.info("staying until the grace period of %g s is nearly over", pod.grace_s)
            await self._now.wait()
            return
        _log.info(
            "outbound stays open for %g s at least%s",
            pod.drain_s, "" if pod.stay is Stay.DRAIN else ", and until the application has ended",
        )  # fmt: skip
        assert self._began is not None
        alone_since: float | None = None
        told: Mapping[str, int] | None = None
        while not self._now.is_set():
            now = self._clock.monotonic()
            if pod.stay is Stay.APPLICATION:
                others = await self._others()
                alone_since = None if others else (now if alone_since is None else alone_since)
                if others and told is None:
                    _log.info("the application runs still: it has %s", describe(others))
                    told = others
                done = alone_since is not None and now - alone_since >= QUIET_S
            else:
                done = True
            if done and now - self._began >= pod.drain_s:
                self.outlived = True if pod.stay is Stay.APPLICATION else None
                _log.info("leaving%s", ": nobody else has a socket in the pod" if self.outlived else "")
                return
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._now.wait()
            except TimeoutError:
                pass

    async def _others(self) -> Mapping[str, int]:
        """Sockets of others. Who can not look believes that somebody is there."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._sockets)
        except OSError as error:
            if not self._blind:
                self._blind = True
                _log.warning("cannot see the pod's sockets: %s; staying until the grace period is nearly over", error)
            return {"unknown": 1}

    _blind = False
