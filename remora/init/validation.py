"""Wait until somebody else, the node agent, has put the rules; as an ordinary user, without any capability.

What is seen is what the rules do: the probe's connection as the application makes it. Run as the sidecar's own user,
whose connections do not leave captured, the one that it makes to its own pod. Nothing is changed here.
"""

import os
import socket
import threading
from dataclasses import dataclass

from mesh.clock import Clock
from remora.init.back_end import CaptureError
from remora.init.loopback import has_ipv6_address
from remora.init.plan import Capture
from remora.init.probe import Probe, Say, Target, inbound_target, outbound_target, shown
from remora.init.routes import interface_to

ATTEMPT_S = 0.5
"""A connection that began before the rules were there never arrives; the next one does."""
BETWEEN_S = 0.1


@dataclass(frozen=True, slots=True)
class Validation:
    """One run. It ends as soon as what can be seen is as it should be."""

    capture: Capture
    within_s: float
    clock: Clock
    say: Say
    node: str = ""
    """Where this runs, for the message; empty: unknown."""

    def run(self) -> None:
        """Raises CaptureError where the rules are not there in time."""
        began = self.clock.monotonic()
        waits = threading.Event()
        told = False
        while (missing := self._missing()) is not None:
            if self.clock.monotonic() - began >= self.within_s:
                raise CaptureError(
                    f"nothing has captured this pod's connections within {self.within_s:g} s: {missing}",
                    f"the node agent has to{f' on node {self.node}' if self.node else ''}: is it there (kubectl get "
                    "pods -n remora-node -o wide), and what does it say (kubectl describe pod of this pod, kubectl "
                    "logs)? Without it, install with cni.enabled=false",
                )
            if not told:
                told = True
                self.say("waiting for the node agent to capture this pod's connections")
            waits.wait(BETWEEN_S)

    def _missing(self) -> str | None:
        """What does not arrive; None: everything that can be seen does."""
        arrived: list[str] = []
        for version in (4, 6) if has_ipv6_address() else (4,):
            found = self._sight(version)
            if found is None or not _routed(version, found[1]):
                continue
            direction, target, port = found
            what = f"IPv{version} {direction}: a connection to {shown(target)}"
            try:
                meant = Probe(self.capture, version, self.say, ATTEMPT_S).arrives(target, port)
            except OSError as error:
                return f"{what} does not arrive at port {port} ({error})"
            except CaptureError as error:
                return error.lines[0]
            if meant != target:
                return f"{what} arrives as one to {shown(meant)}"
            arrived.append(f"{what} arrives at port {port}")
        for line in arrived or ["nothing is to be captured that can be seen from here: not waiting for the node agent"]:
            self.say(line)
        return None

    def _sight(self, version: int) -> tuple[str, Target, int] | None:
        """What to try: direction, destination, and the sidecar's port where it should arrive."""
        if os.geteuid() == self.capture.uid or os.getegid() == self.capture.gid:
            target = inbound_target(self.capture, version)
            return None if target is None else ("inbound", target, self.capture.inbound_to)
        target = outbound_target(self.capture, version)
        # What goes out there is left alone, as it is to be.
        if target is None or interface_to(target[0], version) in self.capture.exclude_interfaces:
            return None
        return "outbound", target, self.capture.outbound_to


def _routed(version: int, target: Target) -> bool:
    """Whether this network knows a way: asked without a packet, so that no router's answer is taken for a no."""
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(target)
        except OSError:
            return False
    return True
