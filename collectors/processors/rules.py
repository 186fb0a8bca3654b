"""The processor `redact`: rules of the user's, beside the built-in redaction of credentials (redaction.py)."""

import hashlib
import hmac
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal, Self

from prometheus_client import Counter
from pydantic import Field, model_validator

from collectors.pipeline import Consumer
from collectors.processors.patterns import Pattern
from collectors.processors.personal import FINDERS, Finder, of_expression
from collectors.records import PRINCIPAL_KEY, Batch, LogRecord, SpanRecord
from collectors.settings.context import Context
from collectors.settings.types import Model, SecretFile, wrong

Kind = Literal["email", "ipv4", "ipv6", "credit_card", "iban"]
Action = Literal["replace", "hash", "drop_field"]

_HASH_HEX = 16
_KEPT = (PRINCIPAL_KEY, "id", "trace_id", "span_id", "request_id", "start_time", "log.file.path")
_REMOVED = object()


class RuleSettings(Model):
    """One rule: what it looks for, where, and what it does with it."""

    pattern: Kind | None = None
    """A built-in one."""
    expression: Pattern | None = None
    """One of the user's, in RE2's syntax."""
    values_of: tuple[str, ...] = Field(default=(), max_length=256)
    """Instead: the whole value of fields with such names (globs: `*.ssn`), whatever it is."""
    fields: tuple[str, ...] = Field(default=("*",), min_length=1, max_length=256)
    """Where to look: names of fields, with dots for those within others (globs)."""
    action: Action = "replace"
    """`hash`: the same value becomes the same word, by hash_key_file; `drop_field`: the whole field is left out."""
    replacement: str = Field(default="", max_length=256)
    """Default: [redacted], or the name of the pattern in brackets."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum((self.pattern is not None, self.expression is not None, bool(self.values_of))) != 1:
            raise wrong("needs one of pattern, expression, values_of")
        if self.replacement and self.action != "replace":
            raise wrong(f"has a replacement, which action: {self.action} does not use")
        return self


class Settings(Model):
    """`processors.NAME` with `type: redact`."""

    rules: tuple[RuleSettings, ...] = Field(min_length=1, max_length=256)
    """Applied in their order."""
    hash_key_file: SecretFile | None = None
    """At least 16 characters; whoever has it can find out which word stands for which value."""
    except_fields: tuple[str, ...] = Field(default=_KEPT, max_length=256)
    """Never touched."""
    signals: frozenset[Literal["logs", "traces"]] = frozenset(("logs", "traces"))
    """Which records are looked at."""

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        hashes = any(rule.action == "hash" for rule in self.rules)
        if hashes and self.hash_key_file is None:
            raise wrong("has a rule with action: hash and no hash_key_file; a hash without a key is guessed in no time")
        if self.hash_key_file is not None and len(self.hash_key_file.read()) < 16:
            raise wrong("has a hash_key_file of less than 16 characters; write one with: openssl rand -hex 32")
        return self


def build(settings: Settings, name: str, context: Context, then: Consumer) -> Consumer:
    """See collectors.settings.registry. Raises OSError, ValueError where the key cannot be read."""
    key = b"" if settings.hash_key_file is None else settings.hash_key_file.read().encode()
    rules = [Rule(rule, key) for rule in settings.rules]
    counted = context.telemetry.processed.labels(name, "redacted")
    return Rules(rules, settings.except_fields, settings.signals, counted, then)


class Rule:
    """One rule, ready to be applied."""

    def __init__(self, settings: RuleSettings, key: bytes) -> None:
        self.values_of = settings.values_of
        self.fields = settings.fields
        self.action = settings.action
        self._key = key
        self._finder: Finder | None = None
        if settings.pattern is not None:
            self._finder = FINDERS[settings.pattern]
        elif settings.expression is not None:
            self._finder = of_expression(settings.expression)
        self._word = settings.pattern or "redacted"
        self._replacement = settings.replacement or f"[{self._word}]"

    def takes(self, path: str) -> bool:
        """Whether it looks at the field."""
        patterns = self.values_of or self.fields
        return any(fnmatchcase(path, pattern) for pattern in patterns)

    def apply(self, value: Any) -> Any:
        """The value without what is not to be seen; _REMOVED: no value at all."""
        if self._finder is None:
            if value is None:
                return value
            return _REMOVED if self.action == "drop_field" else self._replaced(str(value))
        if not isinstance(value, str):
            return value
        spans = self._finder.spans(value)
        if not spans:
            return value
        if self.action == "drop_field":
            return _REMOVED
        parts, at = [], 0
        for start, end in spans:
            parts += [value[at:start], self._replaced(value[start:end])]
            at = end
        return "".join([*parts, value[at:]])

    def _replaced(self, text: str) -> str:
        if self.action != "hash":
            return self._replacement
        digest = hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        return f"[{self._word}:{digest[:_HASH_HEX]}]"


class Rules:
    """A stage of the pipeline. Records that it changes are new ones: others may hold the same."""

    def __init__(
        self,
        rules: list[Rule],
        except_fields: tuple[str, ...],
        signals: frozenset[str],
        counted: Counter,
        then: Consumer,
    ) -> None:
        self._rules = rules
        self._signals = signals
        self._counted = counted
        self._then = then

        # Records of one kind have the same fields.
        @lru_cache(maxsize=4_096)
        def rules_for(path: str) -> tuple[Rule, ...]:
            if any(fnmatchcase(path, pattern) for pattern in except_fields):
                return ()
            return tuple(rule for rule in rules if rule.takes(path))

        self._rules_for: Callable[[str], tuple[Rule, ...]] = rules_for

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        logs, spans = batch.logs, batch.spans
        if "logs" in self._signals:
            logs = [self._log(record) for record in logs]
        if "traces" in self._signals:
            spans = [self._span(record) for record in spans]
        await self._then.consume(Batch(logs, spans, batch.samples, batch.size_bytes, batch.sender))

    def _log(self, record: LogRecord) -> LogRecord:
        body = self._map(record.body, "")
        if body is record.body:
            return record
        self._counted.inc()
        return record._replace(body=body)

    def _span(self, record: SpanRecord) -> SpanRecord:
        changes: dict[str, Any] = {}
        for name in ("attributes", "resource"):
            value = getattr(record, name)
            if (clean := self._map(value, "")) is not value:
                changes[name] = clean
        for name in ("name", "status_message", "events", "links"):
            value = getattr(record, name)
            if (clean := self._value(value, name)) is not value:
                changes[name] = "" if clean is _REMOVED else clean
        if not changes:
            return record
        self._counted.inc()
        return record._replace(**changes)

    def _map(self, value: dict[str, Any], path: str) -> dict[str, Any]:
        """The same map where nothing in it changes."""
        changed: dict[str, Any] | None = None
        for key, one in value.items():
            clean = self._value(one, f"{path}.{key}" if path else key)
            if clean is one:
                continue
            if changed is None:
                changed = dict(value)
            if clean is _REMOVED:
                del changed[key]
            else:
                changed[key] = clean
        return value if changed is None else changed

    def _value(self, value: Any, path: str) -> Any:
        before = value
        for rule in self._rules_for(path):
            if value is not _REMOVED:
                value = rule.apply(value)
        if value is not before:
            return value
        if isinstance(value, dict):
            return self._map(value, path)
        if isinstance(value, (list, tuple)):
            items = [self._value(one, path) for one in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return [one for one in items if one is not _REMOVED]
        return value
