"""The processor `parse`: log records get the fields that their text holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from collectors.pipeline import Consumer
from collectors.processors.parsers.meaning import severity_in, time_in, trace_in
from collectors.processors.parsers.texts import MAX_TEXT_CHARS, Parse
from collectors.receivers.events import access_severity
from collectors.records import PRINCIPAL_KEY, Batch, LogRecord

MESSAGE_KEYS = ("message", "msg", "log", "event", "text")
_OWN = frozenset((PRINCIPAL_KEY, "workload", "namespace", "service", "stream"))
_OWN_PREFIXES = ("k8s.", "container.", "remora.", "log.file.")


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done with which text."""

    parse: Parse
    field: str = "message"
    into: str = ""
    keep_text: bool = False
    drop_unparsed: bool = False
    max_fields: int = 256
    severity_keys: tuple[str, ...] = ()
    time_keys: tuple[str, ...] = ()
    time_format: str = "auto"
    trace: bool = True
    is_access_log: bool = False


class Parser:
    """A stage of the pipeline. Records that it changes are new ones: others may hold the same."""

    def __init__(self, rules: Rules, count: Callable[[str], Counter], then: Consumer) -> None:
        self._rules = rules
        self._then = then
        self._parsed, self._unparsed, self._dropped = count("parsed"), count("unparsed"), count("dropped")

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        if batch.logs:
            logs = [record for one in batch.logs if (record := self._process(one)) is not None]
            batch = Batch(logs, batch.spans, batch.samples, batch.size_bytes, batch.sender)
        await self._then.consume(batch)

    def _process(self, record: LogRecord) -> LogRecord | None:
        rules = self._rules
        text = record.body.get(rules.field)
        fields = rules.parse(text) if isinstance(text, str) and len(text) <= MAX_TEXT_CHARS else None
        if fields is None or not isinstance(text, str):
            if rules.drop_unparsed:
                self._dropped.inc()
                return None
            self._unparsed.inc()
            return record
        self._parsed.inc()
        return self._with(record, fields, text)

    def _with(self, record: LogRecord, fields: dict[str, Any], text: str) -> LogRecord:
        rules = self._rules
        body = dict(record.body)
        del body[rules.field]
        message = next((found for key in MESSAGE_KEYS if type(found := fields.get(key)) is str), None)
        # What people read first: the message within, else the line as it was.
        body["message"] = text if message is None else message
        if rules.keep_text and message is not None:
            body["log.original"] = text
        cut = len(fields) > rules.max_fields
        taken = dict(list(fields.items())[: rules.max_fields]) if cut else fields
        if rules.into:
            body[rules.into] = taken
        else:
            _merge(body, taken)
        if cut:
            body["log.fields_cut"] = True
        return record._replace(body=body, **self._meaning(record, body, fields))

    def _meaning(self, record: LogRecord, body: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        rules = self._rules
        changes: dict[str, Any] = {}
        for key in rules.time_keys:
            if (time := time_in(fields.get(key), rules.time_format)) is not None:
                changes["time"] = time
                break
        if rules.is_access_log:
            changes["severity"] = access_severity(fields)
        else:
            for key in rules.severity_keys:
                if (severity := severity_in(fields.get(key))) is not None:
                    changes["severity"] = severity
                    break
        if rules.trace:
            trace_id, span_id = trace_in(fields)
            if trace_id is not None and record.trace_id is None:
                changes["trace_id"] = body["trace_id"] = trace_id
                if span_id is not None:
                    body["span_id"] = span_id
        return changes


def _merge(body: dict[str, Any], fields: dict[str, Any]) -> None:
    """What receivers wrote into a record is theirs to say: a text that says it too says it of itself."""
    for key, value in fields.items():
        if key == "message":
            continue
        if key in body or key in _OWN or key.startswith(_OWN_PREFIXES):
            key = f"app.{key}"
        body[key] = value
