"""The exporter into the embedded store."""

import asyncio
from dataclasses import replace
from pathlib import Path

from collectors.exporters.thinning import Thinning
from collectors.pipeline import Refused
from collectors.records import Batch
from collectors.store import RejectedBatch, Store, StoreClosed

PATH = Path("store", "telemetry.sqlite")
"""Within the state directory; where console and command look for it."""


class StoreExporter:
    """The pipeline's last stage: returns when the store has committed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._thinning = Thinning()

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        if batch.samples:
            batch = replace(batch, samples=self._thinning.thin(batch.samples))
        if not len(batch):
            return
        try:
            # Shielded: a receiver that gives up waiting must not take the batch out of the store's hands half-way.
            await asyncio.shield(asyncio.wrap_future(self.store.submit(batch)))
        except RejectedBatch as error:
            self._thinning.forget(batch.samples)
            raise Refused(str(error), retry=False) from error
        except StoreClosed as error:
            self._thinning.forget(batch.samples)
            raise Refused(str(error), retry=True) from error
