"""The fake API server in a thread of its own, for tests that also run real processes: the interface of `ApiServer`."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tests.kubernetes.api_server import FakeApiServer

T = TypeVar("T")


class FakeInThread:
    """`start` before anything else."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake API server", daemon=True)
        self.fake = FakeApiServer(tls=True)

    @property
    def url(self) -> str:
        return self.fake.url

    @property
    def kubeconfig(self) -> Path:
        return self._at / "kubeconfig"

    def start(self) -> None:
        self._thread.start()
        self.start_server()
        self._at.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.write_text(json.dumps(self.fake.kubeconfig()))

    def start_server(self) -> None:
        """On the port of before, with what it held."""
        self.run(self.fake.start())

    def stop_server(self) -> None:
        """Abruptly."""
        self.run(self.fake.stop())

    def compact(self) -> None:
        self.do(self.fake.compact)

    def stop(self) -> None:
        self.stop_server()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In its loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def do(self, what: Callable[[], T]) -> T:
        """In its thread."""

        async def call() -> T:
            return what()

        return self.run(call())
