"""`/metrics`: the workers' statistics, the agent's own and the application's in one answer."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from sidecar.agent.app_metrics import Unscrapable, fetch, fit
from sidecar.agent.metric_store import MetricStore
from sidecar.agent.vitals import Vital

_log = logging.getLogger("remora.metrics")


class MetricsPage:
    """Renders on request."""

    def __init__(
        self,
        store: MetricStore,
        vitals: Callable[[], Iterable[Vital]],
        pids: Callable[[], list[int]],
        app_url: str | None,
    ) -> None:
        self._store = store
        self._vitals = vitals
        self._pids = pids
        self._app_url = app_url
        self._own: Callable[[], str] | None = None
        self.app_failures = 0

    async def render(self) -> bytes:
        """Text format 0.0.4. What fails of the application is left out and counted."""
        theirs = await self._fetch()
        if self._own is None:
            from sidecar.agent.own_metrics import OwnMetrics

            self._own = OwnMetrics(self._vitals, self._pids).render
        ours = "".join(self._store.render()) + self._own()
        if theirs is not None:
            try:
                ours += fit(theirs, ours)
            except Unscrapable as error:
                self._failed(error)
        return ours.encode()

    async def _fetch(self) -> str | None:
        if self._app_url is None:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(None, fetch, self._app_url)
        except Unscrapable as error:
            self._failed(error)
            return None

    def _failed(self, error: Unscrapable) -> None:
        self.app_failures += 1
        _log.warning("application's metrics: %s", error)
