"""`exporters.NAME` of type `store`, the embedded store. Durable by itself: what it acknowledges is committed; there is
no buffer in front."""

import asyncio

from pydantic import Field

from collectors.exporters.sqlite import PATH, StoreExporter
from collectors.settings.context import Context
from collectors.settings.types import Duration, Model, Size
from collectors.store import Limits, Store


class Settings(Model):
    """Its file is where console and command look for it, in the state directory; so there can be one."""

    retention: Duration = Field(default=24 * 3600.0, ge=60.0, le=10 * 365 * 86400.0)
    """Older records are deleted."""
    max_bytes: Size = Field(default=1 << 30, ge=8 << 20)
    """Beyond it the oldest records are deleted."""


def build(settings: Settings, name: str, context: Context) -> StoreExporter:
    """Raises StoreError, OSError."""
    limits = Limits(retention_s=settings.retention, max_bytes=settings.max_bytes)
    store = Store.open(context.state / PATH, limits=limits, clock=context.clock)
    context.on_close(lambda: asyncio.to_thread(store.close))
    return StoreExporter(store)
