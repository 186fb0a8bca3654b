"""`/metrics`: the workers' statistics, the agent's own and the application's in one answer."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

from sidecar.agent import openmetrics
from sidecar.agent.app_metrics import Scraped, Unscrapable, fetch, fit
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
        self.app_up: bool | None = None
        """Whether the application's metrics could be had the last time; None: it has none, or was not asked yet."""
        self.app_failures = 0
        self.app_left_out = 0

    async def render(self, *, openmetrics_wanted: bool = False) -> bytes:
        """Text format 0.0.4, or OpenMetrics, which has exemplars. What fails of the application is left out, said by
        a gauge, and counted."""
        theirs = await self._fetch(openmetrics_wanted)
        store = "".join(self._store.render(is_open=openmetrics_wanted))
        own, fitted = self._render_own(), ""
        if theirs is not None:
            fitted = self._fit(theirs, store + own)
            own = self._render_own()  # it says what became of theirs
        if not openmetrics_wanted:
            return (store + own + fitted).encode()
        if theirs is not None and not theirs.is_open:
            fitted = openmetrics.convert(fitted)
        return (store + openmetrics.convert(own) + fitted + openmetrics.END).encode()

    def _render_own(self) -> str:
        if self._own is None:
            from sidecar.agent.own_metrics import OwnMetrics

            self._own = OwnMetrics(self._vitals, self._pids).render
        return self._own()

    def _fit(self, theirs: Scraped, ours: str) -> str:
        try:
            fitted = fit(theirs, ours)
        except Unscrapable as error:
            self._failed(error)
            return ""
        self.app_left_out += fitted.left_out
        return fitted.text

    async def _fetch(self, openmetrics_wanted: bool) -> Scraped | None:
        if self._app_url is None:
            return None
        ask = partial(fetch, self._app_url, openmetrics_wanted=openmetrics_wanted)
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, ask)
        except Unscrapable as error:
            self._failed(error)
            return None
        self.app_up = True
        return found

    def _failed(self, error: Unscrapable) -> None:
        self.app_failures += 1
        if self.app_up is not False:
            _log.warning("application's metrics: %s", error)
        self.app_up = False
