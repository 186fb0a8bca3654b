"""When a pod's sidecar leaves after it was told to: not before the application, not after the grace period.

In the classic form the kubelet sends SIGTERM to all containers at once, and nobody tells the sidecar when the others
have ended: Kubernetes' own status does not, since the kubelet reports a terminating pod when all of it has ended. Istio
waits five seconds, or until there are no connections; an application that shuts down longer, or that makes its last
requests on new connections, is cut off (docs/pods.md). Here the sidecar stays as long as somebody else has a socket in
the pod, which is what a process that uses the network has, or has opened a connection through us a moment ago, which
may have been over before anybody looked.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from mesh.clock import Clock
from sidecar.agent.pod_sockets import describe
from sidecar.pod import Form, Pod, Stay

LOOK_EVERY_S = 0.25
QUIET_S = 3.0
"""Nothing of the application must have been seen for so long: between two requests it may have no socket. More than the
second for which workers keep their counts to themselves."""

LAST_S = 2.0
"""So long before SIGKILL the sidecar leaves at the latest: requests under way get half a second, records one to be
delivered."""

LAST_DRAIN_S, LAST_FLUSH_S = 0.5, 1.0

LAYER = "remora.lifecycle"
"""Name of the control plane's runtime layer (control.generate.lifecycle)."""

_log = logging.getLogger("remora.lifecycle")


def layers(pod: Pod | None) -> frozenset[str]:
    """Runtime layers to ask for: a Job's sidecar is told when the application has ended, and then ends."""
    return frozenset([LAYER]) if pod is not None and pod.job else frozenset()


class Departure:
    """Decides when to go. `wait` once, after SIGTERM."""

    def __init__(
        self,
        pod: Pod | None,
        sockets: Callable[[], Mapping[str, int]],
        opened: Callable[[], float],
        clock: Clock,
        *,
        quiet_s: float = QUIET_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`sockets` of others in the pod; `opened`: how many connections the application has opened through us."""
        self._pod = pod
        self._sockets = sockets
        self._opened = opened
        self._clock = clock
        self._quiet_s = quiet_s
        self._look_every_s = look_every_s
        self._blind = False
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
        return self._fitted(usual_s, LAST_DRAIN_S, LAST_S - LAST_DRAIN_S)

    def flush_s(self, usual_s: float) -> float:
        """How long records may take to be delivered, at most `usual_s`."""
        return self._fitted(usual_s, LAST_FLUSH_S, LAST_S - LAST_DRAIN_S - LAST_FLUSH_S)

    def _fitted(self, usual_s: float, least_s: float, behind_s: float) -> float:
        """As long as usual, or what the grace period leaves but for `behind_s`; in any case `least_s`."""
        if self._pod is None or self._began is None:
            return usual_s
        left_s = self._pod.grace_s - (self._clock.monotonic() - self._began) - behind_s
        return min(usual_s, max(left_s, least_s))

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
        seen_at = self._began
        opened = self._opened()
        told = False
        while not self._now.is_set():
            now = self._clock.monotonic()
            if pod.stay is Stay.APPLICATION:
                others = await self._others()
                if others and not told:
                    told = True
                    _log.info("the application runs still: it has %s", describe(others))
                if others or self._opened() != opened:
                    seen_at, opened = now, self._opened()
                done = now - seen_at >= self._quiet_s
            else:
                done = True
            if done and now - self._began >= pod.drain_s:
                self.outlived = True if pod.stay is Stay.APPLICATION else None
                _log.info(
                    "leaving%s", ": nothing has been seen of the application for a while" if self.outlived else ""
                )
                return
            try:
                async with asyncio.timeout(self._look_every_s):
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
