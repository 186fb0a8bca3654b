"""Being woken when something happens in directories; where the kernel has no watch left, files are polled alone."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import watchfiles

_log = logging.getLogger("remora.tail")

MAX_DIRECTORIES = 1_024
_STEP_MS = 50
_DEBOUNCE_MS = 200
_AGAIN_S = 30.0


class Watch:
    """Watches the directories that `directories` names at the moment."""

    def __init__(self, directories: Callable[[], set[Path]], wake: Callable[[], None]) -> None:
        self._directories = directories
        self._wake = wake
        self._changed = asyncio.Event()
        self._watched: set[Path] = set()
        # It tells of every change, of which there are some a second.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)

    def follow(self) -> None:
        """Look again which directories there are."""
        if self._present() != self._watched:
            self._changed.set()

    def _present(self) -> set[Path]:
        return set(sorted(path for path in self._directories() if path.is_dir())[:MAX_DIRECTORIES])

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            self._watched = self._present()
            if not self._watched:
                await self._changed.wait()
                continue
            try:
                async for _ in watchfiles.awatch(
                    *self._watched,
                    watch_filter=None,
                    step=_STEP_MS,
                    debounce=_DEBOUNCE_MS,
                    stop_event=self._changed,
                    recursive=False,
                    ignore_permission_denied=True,
                ):
                    self._wake()
            except (OSError, RuntimeError) as error:
                _log.warning("directories are not watched, only polled: %s", error)
                try:
                    async with asyncio.timeout(_AGAIN_S):
                        await self._changed.wait()
                except TimeoutError:
                    pass
