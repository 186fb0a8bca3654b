"""Settings of the buffer between a route and a back end."""

from collections.abc import Collection
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from collectors.settings.types import AnyPath, Duration, Model, Size, parse_duration, wrong

Signal = Literal["logs", "traces", "metrics"]
SIGNALS: tuple[Signal, ...] = ("logs", "traces", "metrics")


def _fsync(value: object) -> float | None:
    if value == "always":
        return 0.0
    if value == "never":
        return None
    if isinstance(value, dict) and value.keys() == {"interval"}:
        return parse_duration(value["interval"])
    raise wrong("is no policy; write always, never, or {interval: 1s}")


class SpillSettings(Model):
    """A second, bigger and slower disk."""

    directory: AnyPath
    """Made if it is not there; of this buffer alone."""
    max_bytes: Size = Field(default=16 << 30, ge=1 << 20)
    """On that disk; then senders wait."""


class BufferSettings(Model):
    """`exporters.NAME.buffer`."""

    directory: AnyPath | None = None
    """Default: STATE/buffers/NAME."""
    max_bytes: Size = Field(default=1 << 30, ge=256 << 10)
    """On disk."""
    max_age: Duration | None = Field(default=None, ge=1.0)
    """What waits longer is dropped and counted. Default: nothing is dropped for its age."""
    segment_bytes: Size = Field(default=16 << 20, ge=64 << 10, le=1 << 30)
    """A file; it is removed when all of it was delivered. At most a quarter of max_bytes is used."""
    fsync: Annotated[float | None, BeforeValidator(_fsync)] = 0.0
    """Seconds between; 0: before every acknowledgement (one for all that wait); None: never, so that what is
    acknowledged survives the process and not the machine."""
    overflow: Literal["block", "drop_oldest", "spill"] = "block"
    """What happens when it is full: senders wait, the oldest file is given up, or `spill`."""
    spill: SpillSettings | None = None
    """Where it goes on with `overflow: spill`."""
    memory_bytes: Size = Field(default=2 << 20, ge=0, le=1 << 30)
    """Of batches kept decoded for the sender, so that it need not read them back; counted as they are encoded."""
    parallel: int = Field(default=2, ge=1, le=64)
    """Requests to the back end at once."""
    batch_records: int = Field(default=5_000, ge=1, le=100_000)
    """The most of one request."""
    batch_bytes: Size = Field(default=2 << 20, ge=1 << 10, le=64 << 20)
    """The most of one request, as encoded in the buffer."""
    linger: Duration = Field(default=0.0, ge=0, le=60.0)
    """How long a request that is not full waits for more."""
    retry_min: Duration = Field(default=0.2, ge=0.001, le=3600)
    """The least wait before an attempt that follows a failed one."""
    retry_max: Duration = Field(default=30.0, ge=0.001, le=3600)
    """Back-off between attempts: a random part of what doubles from the one to the other."""
    dead_letter_bytes: Size = Field(default=64 << 20, ge=64 << 10)
    """Of what the back end refused for good, in all files; the oldest leave, counted."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.overflow == "spill") != (self.spill is not None):
            raise wrong("has overflow: spill without spill.directory, or the other way round; write both or neither")
        if self.retry_max < self.retry_min:
            raise wrong("has a retry_max below its retry_min")
        return self


class ExporterSettings(Model):
    """What the model of every exporter with a sink begins with. `type` is taken off before."""

    buffer: BufferSettings = BufferSettings()
    """On disk, in front of the back end."""

    takes: ClassVar[frozenset[Signal]] = frozenset(SIGNALS)
    """Other signals are not routed to it: a route that would is a mistake in the settings."""
    ordered: ClassVar[bool] = False
    """Whether the back end needs every stream's records in order: then one request is under way at a time and what is
    sent again is sent before what is newer (`parallel` is 1)."""

    def in_order(self, carried: Collection[Signal]) -> bool:
        """`ordered`, where that depends on the signals that routes bring."""
        return self.ordered
