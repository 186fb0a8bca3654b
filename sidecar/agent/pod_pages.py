"""What a pod's sidecar answers on 15020 besides metrics: the kubelet's probes of the application, and two orders that
the pod's own containers may give (paths and methods as Istio's agent has them)."""

from ipaddress import ip_address
from typing import Protocol

from sidecar.agent.admin import Page, Pages
from sidecar.agent.app_probes import AppProbes
from sidecar.agent.guard import refuse_strangers
from sidecar.agent.http_server import Request, Response, Stream, text


class Leaver(Protocol):
    """Who is told; the agent."""

    def stop(self, why: str) -> None:
        """End now."""

    def wind_down(self, why: str) -> None:
        """The pod is going to end."""


def pod_pages(leaver: Leaver, probes: AppProbes) -> Pages:
    """By method and path."""

    async def end(request: Request) -> Response:
        leaver.stop(f"POST {request.path}")
        return text("OK\n")

    async def drain(request: Request) -> Response:
        leaver.wind_down(f"POST {request.path}")
        return text("OK\n")

    return {
        ("POST", "/quitquitquit"): _from_within(end),
        ("POST", "/drain"): _from_within(drain),
        **{("GET", path): probes.page for path in probes.paths},
    }


def _from_within(page: Page) -> Page:
    """15020 is open to the cluster; orders come by loopback alone, and from nobody's browser."""

    async def guarded(request: Request) -> Response | Stream:
        if request.peer is None or not ip_address(request.peer[0].partition("%")[0]).is_loopback:
            return text("only from inside the pod, at 127.0.0.1 or [::1]\n", 403)
        return refuse_strangers(request) or await page(request)

    return guarded
