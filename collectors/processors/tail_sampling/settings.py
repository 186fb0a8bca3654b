"""`processors.NAME` with `type: tail_sampling`."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from collectors.processors.patterns import Pattern
from collectors.settings.buffers import Signal
from collectors.settings.types import Duration, Model, Size, wrong

_MAX_DEPTH = 4


class _Policy(Model):
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.\-]{1,64}$")
    """For the metric. Default: its type."""


class Always(_Policy):
    """Every trace."""

    type: Literal["always"]
    """Which policy this is."""


class Errors(_Policy):
    """Traces with a span whose status is an error."""

    type: Literal["errors"]
    """Which policy this is."""


class Slow(_Policy):
    """Traces that took at least this long, from the first span's start to the last one's end."""

    type: Literal["slow"]
    """Which policy this is."""
    threshold: Duration = Field(ge=0.0, le=86_400.0)
    """How long a trace takes that is kept."""


class Rate(_Policy):
    """A share of the traces, chosen by their ids: every collector with the same salt chooses the same ones."""

    type: Literal["rate"]
    """Which policy this is."""
    percent: float = Field(ge=0.0, le=100.0)
    """Of all traces."""
    salt: str = Field(default="", max_length=64)
    """Another one chooses other traces."""


class RateLimit(_Policy):
    """As many traces as there is room for under a number of spans per second, with bursts of one second's worth."""

    type: Literal["rate_limit"]
    """Which policy this is."""
    spans_per_second: float = Field(gt=0.0, le=1e9)
    """On average; a second's worth may come at once."""


class Attribute(_Policy):
    """Traces with a span, or a resource, whose attribute `key` has one of `values` or matches `pattern`, is at least
    `min` and at most `max`; with the key alone: that has it at all."""

    type: Literal["attribute"]
    """Which policy this is."""
    key: str = Field(min_length=1, max_length=256)
    """The attribute's name."""
    values: tuple[str | int | float | bool, ...] = Field(default=(), max_length=1_000)
    """One of these, by value and type."""
    pattern: Pattern | None = None
    """Searched for anywhere in the attribute's text."""
    min: float | None = Field(default=None)
    """A number of at least this."""
    max: float | None = Field(default=None)
    """A number of at most this."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (bool(self.values), self.pattern is not None, self.min is not None or self.max is not None)
        if sum(ways) > 1:
            raise wrong(
                "has more than one of values, pattern, and min with max; write two policies, or an `and` of them"
            )
        return self


class And(_Policy):
    """Traces that every one of these keeps; a rate_limit is best the last of them: it counts what comes to it."""

    type: Literal["and"]
    """Which policy this is."""
    policies: tuple["Policy", ...] = Field(min_length=2, max_length=16)
    """All of them keep it."""


def _type_of(value: Any) -> str | None:
    said = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return said if isinstance(said, str) else None


Policy = Annotated[
    Annotated[Always, Tag("always")]
    | Annotated[Errors, Tag("errors")]
    | Annotated[Slow, Tag("slow")]
    | Annotated[Rate, Tag("rate")]
    | Annotated[RateLimit, Tag("rate_limit")]
    | Annotated[Attribute, Tag("attribute")]
    | Annotated[And, Tag("and")],
    Discriminator(_type_of),
]

And.model_rebuild()


class Settings(Model):
    """A trace is kept if one of the policies keeps it; they are asked in their order, up to the first that does."""

    policies: tuple[Policy, ...] = Field(min_length=1, max_length=64)
    """The first that keeps a trace keeps it."""
    decision_wait: Duration = Field(default=10.0, ge=0.01, le=3600.0)
    """From a trace's first span until it is decided."""
    max_traces: int = Field(default=50_000, ge=1, le=5_000_000)
    """Undecided at one time; beyond it the oldest are decided early, and counted."""
    max_bytes: Size = Field(default=64 << 20, ge=64 << 10, le=16 << 30)
    """Of spans in memory, as encoded; likewise."""
    max_decisions: int = Field(default=100_000, ge=1_000, le=10_000_000)
    """Remembered, over restarts too: spans that come late follow the decision on their trace."""
    disk_bytes: Size = Field(default=512 << 20, ge=1 << 20)
    """Of the buffer that spans are in until they were decided and handed on; beyond it senders wait."""
    fsync: bool = True
    """Before a span is acknowledged. False: what is acknowledged survives the process and not the machine."""

    takes: ClassVar[frozenset[Signal]] = frozenset(("traces",))

    @model_validator(mode="after")
    def _not_too_deep(self) -> Self:
        if _depth(self.policies) > _MAX_DEPTH:
            raise wrong(f"has policies within policies more than {_MAX_DEPTH} deep")
        return self


def _depth(policies: "tuple[Policy, ...]") -> int:
    return 1 + max((_depth(one.policies) for one in policies if isinstance(one, And)), default=0)
