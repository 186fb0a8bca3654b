"""Who asks the agent something: its HTTP servers, each with its pages and for its askers."""

from typing import Protocol

from mesh.lifecycle import TaskScope
from sidecar.agent.admin import Views, admin_pages, metrics_pages, readiness_pages
from sidecar.agent.app_probes import AppProbes
from sidecar.agent.endpoints import Endpoints
from sidecar.agent.http_server import HttpServer
from sidecar.agent.pod_pages import Leaver, pod_pages
from sidecar.agent.taps import Taps


class Asked(Views, Leaver, Protocol):
    """The agent, as far as pages show it or change something of it."""

    taps: Taps
    probes: AppProbes


class Servers:
    """The admin interface on loopback; metrics, with a pod's pages in a pod; readiness where it has an address."""

    def __init__(self, agent: Asked, endpoints: Endpoints, scope: TaskScope, *, in_pod: bool) -> None:
        probes = agent.probes
        of_pod = pod_pages(agent, probes) if in_pod else {}
        self._servers = [
            (HttpServer(admin_pages(agent, {("POST", "/tap"): agent.taps.page}), scope), endpoints.admin),
            (HttpServer(metrics_pages(agent, of_pod, probes.hooks), scope, probes.patience_s), endpoints.metrics),
        ]
        if endpoints.readiness is not None:
            self._servers.append((HttpServer(readiness_pages(agent), scope), endpoints.readiness))

    async def start(self) -> None:
        """Accept."""
        for server, sock in self._servers:
            await server.start(sock)

    async def close(self) -> None:
        """Stop accepting, and close every connection."""
        for server, _ in self._servers:
            await server.close()
