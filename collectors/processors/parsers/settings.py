"""`processors.NAME` with `type: parse`."""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from collectors.pipeline import Consumer
from collectors.processors.parsers.meaning import SEVERITY_KEYS, TIME_KEYS
from collectors.processors.parsers.stage import Parser, Rules
from collectors.processors.parsers.texts import (
    Format,
    Parse,
    parse_access_log,
    parse_expression,
    parse_json,
    parse_logfmt,
)
from collectors.processors.patterns import Pattern
from collectors.settings.context import Context
from collectors.settings.types import Model, wrong

_TIME_FORMATS = ("auto", "rfc3339", "unix", "unix_ms", "unix_us", "unix_ns")


class TimeSettings(Model):
    """`time`: where a record's time is taken from."""

    fields: tuple[str, ...] = Field(default=TIME_KEYS, max_length=32)
    """The first that has one; none: the time stays that of the receiver."""
    format: str = Field(default="auto", max_length=64)
    """`auto`, `rfc3339`, `unix`, `unix_ms`, `unix_us`, `unix_ns`, or as strptime takes it: "%d/%b/%Y:%H:%M:%S %z"."""

    @field_validator("format")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value in _TIME_FORMATS:
            return value
        if "%" not in value:
            raise wrong(f"is {value!r}; it must be one of {', '.join(_TIME_FORMATS)}, or have strptime's % directives")
        try:
            written = datetime(2026, 1, 31, tzinfo=UTC).strftime(value)
            datetime.strptime(written, value)
        except ValueError as error:
            raise wrong(f"is {value!r}, which strptime does not take: {error}") from error
        return value


class Settings(Model):
    """`processors.NAME` with `type: parse`."""

    format: Format
    """What the text is."""
    expression: Pattern | None = None
    """For `regex`: its named groups become fields; RE2's syntax."""
    field: str = Field(default="message", min_length=1, max_length=256)
    """What is parsed."""
    into: str = Field(default="", max_length=256)
    """Put the fields under this key; default: beside the record's own, which win (the other is then `app.KEY`)."""
    keep_text: bool = False
    """Keep the text, as `log.original`, where a message was found in it."""
    unparsed: Literal["keep", "drop"] = "keep"
    """What becomes of records whose text is not of the format."""
    max_fields: int = Field(default=256, ge=1, le=10_000)
    """Of one text; the rest is left out, and the record says `log.fields_cut`."""
    severity_fields: tuple[str, ...] = Field(default=SEVERITY_KEYS, max_length=32)
    """The first that names a severity says how bad it is."""
    time: TimeSettings = TimeSettings()
    """How a record's time is found in the fields."""
    trace: bool = True
    """Look for a trace and a span id."""

    @model_validator(mode="after")
    def _has_expression(self) -> Self:
        if (self.format == "regex") != (self.expression is not None):
            raise wrong("needs expression with format: regex, and with no other format")
        if self.expression is not None and not self.expression.names:
            raise wrong("has an expression without named groups; write (?P<name>...) around what becomes a field")
        return self

    def rules(self) -> Rules:
        """As the stage wants them."""
        return Rules(
            parse=self._parse(),
            field=self.field,
            into=self.into,
            keep_text=self.keep_text,
            drop_unparsed=self.unparsed == "drop",
            max_fields=self.max_fields,
            severity_keys=self.severity_fields,
            time_keys=self.time.fields,
            time_format=self.time.format,
            trace=self.trace,
            is_access_log=self.format == "access_log",
        )

    def _parse(self) -> Parse:
        if self.expression is not None:
            return parse_expression(self.expression)
        return {"json": parse_json, "logfmt": parse_logfmt, "access_log": parse_access_log}[self.format]


def build(settings: Settings, name: str, context: Context, then: Consumer) -> Consumer:
    """See collectors.settings.registry."""
    return Parser(settings.rules(), lambda outcome: context.telemetry.processed.labels(name, outcome), then)
