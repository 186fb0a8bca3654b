"""The processor `filter`: keeps or drops records by what they say, and thins them out by a chance that is the same each
time: a record that is sent again, and the spans of one trace, meet the same fate."""

import re
from typing import Any, Self
from zlib import crc32

from pydantic import Field, model_validator

from collectors.pipeline import Consumer
from collectors.processors.patterns import Pattern
from collectors.records import Batch, LogRecord, Sample, SpanRecord
from collectors.settings.context import Context
from collectors.settings.routes import Severity, TagPattern, compile_tags
from collectors.settings.types import Model, wrong
from collectors.telemetry import Telemetry

Record = LogRecord | SpanRecord | Sample

_WHOLE = 1 << 32
_COMPARISONS = ("equals", "one_of", "matches", "at_least", "at_most", "exists")
MAX_TEXT = 16_384
"""Characters of a value that a pattern is matched against; it is cut there."""


class Condition(Model):
    """What is given must all be true."""

    severities: tuple[Severity, ...] = Field(default=(), max_length=4)
    """Of log records; spans are `error` or `info`."""
    tags: tuple[TagPattern, ...] = Field(default=(), max_length=64)
    """Of log records."""
    field: str | None = Field(default=None, min_length=1, max_length=256)
    """Of a log record's body, nested ones as `a.b`; an attribute of a span; a label of a sample. `name` is a span's or
    a sample's own name, where there is no attribute or label of that name."""
    equals: str | int | float | bool | None = None
    """The value; 1 and 1.0 are the same, 1 and true are not."""
    one_of: tuple[str | int | float | bool, ...] = Field(default=(), max_length=1_000)
    """One of these values."""
    matches: Pattern | None = None
    """Anywhere in the value's text (`^` and `$` for all of it)."""
    at_least: int | float | None = None
    """A number of at least this."""
    at_most: int | float | None = None
    """A number of at most this."""
    exists: bool | None = None
    """Whether the field is there at all."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        compares = [name for name in _COMPARISONS if name in self.model_fields_set]
        if compares and self.field is None:
            raise wrong(f"has {compares[0]} without a field; write field: NAME")
        if self.field is not None and not compares:
            raise wrong(f"has a field that nothing is asked of; write one of {', '.join(_COMPARISONS)}")
        if not self.model_fields_set:
            raise wrong("is empty; write severities, tags or a field with what is asked of it")
        return self


class Settings(Model):
    """`type: filter`."""

    keep: tuple[Condition, ...] = Field(default=(), max_length=256)
    """Records for which none is true are dropped."""
    drop: tuple[Condition, ...] = Field(default=(), max_length=256)
    """Records for which one is true are dropped."""
    sample: float = Field(default=1.0, ge=0.0, le=1.0)
    """The share that is kept of the rest: by a log record's id, a span's trace, a sample's series."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.keep and not self.drop and self.sample == 1.0:
            raise wrong("keeps everything; write keep, drop or sample")
        return self


class _Test:
    """A condition, made ready."""

    def __init__(self, condition: Condition) -> None:
        self._severities = frozenset(condition.severities)
        self._tags: re.Pattern[str] | None = compile_tags(condition.tags)
        self._field = condition.field
        self._condition = condition
        self._one_of = frozenset(map(_typed, condition.one_of))
        self._known_tags: dict[str, bool] = {}

    def __call__(self, record: Record) -> bool:
        if self._severities and _severity(record) not in self._severities:
            return False
        if self._tags is not None and not (isinstance(record, LogRecord) and self._tag_matches(record.tag)):
            return False
        return self._field is None or self._holds(_value(record, self._field))

    def _tag_matches(self, tag: str) -> bool:
        known = self._known_tags.get(tag)
        if known is None:
            if len(self._known_tags) >= 1_000:
                self._known_tags.clear()
            assert self._tags is not None
            known = self._known_tags[tag] = self._tags.fullmatch(tag) is not None
        return known

    def _holds(self, value: Any) -> bool:
        asked = self._condition
        if asked.exists is not None and asked.exists != (value is not None):
            return False
        if asked.equals is not None and _typed(value) != _typed(asked.equals):
            return False
        if self._one_of and _typed(value) not in self._one_of:
            return False
        if asked.at_least is not None and not (_is_number(value) and value >= asked.at_least):
            return False
        if asked.at_most is not None and not (_is_number(value) and value <= asked.at_most):
            return False
        return asked.matches is None or (value is not None and bool(asked.matches.search(_text(value))))


class Filter:
    """The stage."""

    def __init__(self, settings: Settings, telemetry: Telemetry, then: Consumer) -> None:
        self._keep = tuple(map(_Test, settings.keep))
        self._drop = tuple(map(_Test, settings.drop))
        self._share = round(settings.sample * _WHOLE)
        self._telemetry = telemetry
        self._then = then

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        kept = Batch(
            [one for one in batch.logs if self._stays(one)],
            [one for one in batch.spans if self._stays(one)],
            [one for one in batch.samples if self._stays(one)],
            batch.size_bytes,
            batch.sender,
        )
        for signal, before, after in (
            ("logs", batch.logs, kept.logs),
            ("traces", batch.spans, kept.spans),
            ("metrics", batch.samples, kept.samples),
        ):
            if len(after) < len(before):
                self._telemetry.discarded.labels(signal).inc(len(before) - len(after))
        if len(kept):
            await self._then.consume(kept)

    def _stays(self, record: Record) -> bool:
        if self._keep and not any(test(record) for test in self._keep):
            return False
        if any(test(record) for test in self._drop):
            return False
        return self._share == _WHOLE or crc32(_identity(record).encode("utf-8", "surrogatepass")) < self._share


def build(settings: Settings, name: str, context: Context, then: Consumer) -> Filter:
    """See settings.registry."""
    return Filter(settings, context.telemetry, then)


def _severity(record: Record) -> str:
    if isinstance(record, LogRecord):
        return record.severity
    return "error" if isinstance(record, SpanRecord) and record.error else "info"


def _identity(record: Record) -> str:
    match record:
        case LogRecord():
            return record.id
        case SpanRecord():
            return record.trace_id
        case Sample():
            return f"{record.name}{record.labels}"


def _value(record: Record, field: str) -> Any:
    match record:
        case LogRecord():
            return _nested(record.body, field)
        case SpanRecord():
            return record.attributes.get(field, record.name if field == "name" else None)
        case Sample():
            return dict(record.labels).get(field, record.name if field == "name" else None)


def _nested(body: dict[str, Any], field: str) -> Any:
    """A key with dots in it comes before a way through maps."""
    if field in body:
        return body[field]
    value: Any = body
    for step in field.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def _typed(value: Any) -> Any:
    """1 and true are not the same; 1 and 1.0 are."""
    if isinstance(value, list | dict):
        return str(value)
    return (isinstance(value, bool), value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text[:MAX_TEXT]
