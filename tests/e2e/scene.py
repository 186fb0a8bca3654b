"""A client with a sidecar, and two servers without, behind one Service whose endpoints the test writes."""

import time
from collections.abc import Callable
from typing import Any

from tests.e2e.cluster import until
from tests.e2e.mesh import Pods
from tests.netns.captured_mesh import Sidecar

REVIEWS = "10.96.7.10"
LIVE_S = 1.0
"""What a change of the cluster may take until a sidecar does it."""


class Scene:
    """`client` has a sidecar, `one` and `two` answer by their names and have none."""

    def __init__(self, pods: Pods) -> None:
        self.pods = pods
        self.cluster = pods.cluster
        self.addresses = {}
        for name in ("one", "two"):
            _, there = pods.create(name, inject=False)
            pods.http_server(there, 8080, name)
            self.addresses[name] = there.ipv4
        pods.service("reviews", REVIEWS)
        pods.endpoints("reviews", self.addresses["one"])
        self.sidecar: Sidecar = pods.sidecar("client")

    def answered_by(self) -> tuple[int, str]:
        return self.pods.ask(self.sidecar.pod, REVIEWS, authority="reviews.default")

    def live(self, change: Callable[[], Any], expected: Any, seen: Callable[[], Any], within: float) -> float:
        """Seconds from the end of `change` until `seen()` is what is expected."""
        change()
        began = time.monotonic()
        until(lambda: seen() == expected, f"{expected!r}, not {seen()!r}", within=within)
        return time.monotonic() - began

    def rule(self, status: int) -> dict[str, Any]:
        """Every request is answered by the sidecar, with that status."""
        fault = {"abort": {"httpStatus": status, "percentage": {"value": 100}}}
        return {
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "reviews", "namespace": "default"},
            "spec": {"hosts": ["reviews"], "http": [{"fault": fault, "route": [{"destination": {"host": "reviews"}}]}]},
        }  # fmt: skip
