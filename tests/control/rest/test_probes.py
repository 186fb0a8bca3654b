"""Liveness and readiness: who may ask, what is said, and that nothing else is served before the World is known."""

from collections.abc import AsyncIterator

import httpx
import pytest

from control.rest.probes import Probes
from mesh.asgi import Receive, Scope, Send, respond


class Scene:
    def __init__(self) -> None:
        self.missing = ["pods (away)", "services (starting)"]
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(Probes(self._behind, lambda: self.missing)), base_url="https://10.1.2.3:15014"
        )

    async def _behind(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond(send, 200, b"behind", "text/plain")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.http.aclose()


async def test_it_lives_before_it_is_ready_and_says_what_it_waits_for(scene: Scene) -> None:
    assert (await scene.http.get("/livez")).json() == {"live": True}
    answer = await scene.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "waiting_for": ["pods (away)", "services (starting)"]}
    scene.missing = []
    answer = await scene.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "waiting_for": []})


async def test_nothing_but_health_and_metrics_is_served_before(scene: Scene) -> None:
    answer = await scene.http.post("/v1/apply", json={})
    assert answer.status_code == 503
    assert answer.json() == {"error": "not ready; waiting for pods (away), services (starting)"}
    assert answer.headers["retry-after"] == "1"
    assert (await scene.http.get("/metrics")).text == "behind"
    assert (await scene.http.get("/healthz")).text == "behind"
    scene.missing = []
    assert (await scene.http.post("/v1/apply", json={})).text == "behind"


async def test_probes_are_asked_by_get(scene: Scene) -> None:
    assert (await scene.http.post("/readyz")).status_code == 405
    assert (await scene.http.head("/livez")).status_code == 200
