from typing import Any

import pytest
from pydantic import ValidationError

from collectors.processors.filtering import Filter, Settings
from collectors.records import Batch, Sample
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, log, span
from tests.collectors.fakes import Sink

RECORDS = [
    log("a", "hello", path="/healthz", code=200, user={"name": "ada"}, flag=True),
    log("b", "bye", path="/products", code=503)._replace(severity="error"),
    log("c", "none")._replace(severity="debug", tag="kube.var.log"),
]
SPANS = [span(1, 1, None, "reviews", error=True), span(2, 2, None, "ratings")]
SAMPLES = [Sample("up", (("job", "x"),), NOW, 1.0), Sample("down", (("job", "y"),), NOW, 1.0)]


async def filtered(batch: Batch, telemetry: Telemetry | None = None, **settings: Any) -> Batch:
    sink = Sink()
    await Filter(Settings.model_validate(settings), telemetry or Telemetry(), sink).consume(batch)
    return sink.batches[0] if sink.batches else Batch()


def names(batch: Batch) -> str:
    return "".join(record.id for record in batch.logs)


@pytest.mark.parametrize(
    ("condition", "dropped"),
    [
        ({"severities": ["debug"]}, "c"),
        ({"severities": ["debug", "error"]}, "bc"),
        ({"tags": ["kube.**"]}, "c"),
        ({"tags": ["app.*"], "severities": ["error"]}, "b"),
        ({"field": "path", "equals": "/healthz"}, "a"),
        ({"field": "path", "one_of": ["/healthz", "/products"]}, "ab"),
        ({"field": "path", "matches": "^/prod"}, "b"),
        ({"field": "path", "matches": "h"}, "a"),
        ({"field": "path", "exists": False}, "c"),
        ({"field": "path", "exists": True}, "ab"),
        ({"field": "code", "at_least": 500}, "b"),
        ({"field": "code", "at_least": 200, "at_most": 299}, "a"),
        ({"field": "code", "equals": 200.0}, "a"),
        ({"field": "code", "equals": "200"}, ""),
        ({"field": "flag", "equals": 1}, ""),
        ({"field": "flag", "equals": True}, "a"),
        ({"field": "user.name", "equals": "ada"}, "a"),
        ({"field": "user", "matches": "ada"}, "a"),
        ({"field": "message.none", "exists": True}, ""),
        ({"field": "message", "at_least": 1}, ""),
    ],
    ids=str,
)
async def test_a_condition_of_logs(condition: dict[str, Any], dropped: str) -> None:
    batch = Batch(logs=RECORDS)
    assert names(await filtered(batch, drop=[condition])) == "".join(n for n in "abc" if n not in dropped)
    assert names(await filtered(batch, keep=[condition])) == dropped


async def test_of_several_conditions_one_is_enough() -> None:
    conditions = [{"severities": ["debug"]}, {"field": "path", "equals": "/healthz"}]
    assert names(await filtered(Batch(logs=RECORDS), drop=conditions)) == "b"
    assert names(await filtered(Batch(logs=RECORDS), keep=conditions, drop=[{"severities": ["debug"]}])) == "a"


async def test_spans_and_samples_by_attribute_label_name_and_error() -> None:
    batch = Batch(spans=SPANS, samples=SAMPLES)
    kept = await filtered(batch, keep=[{"severities": ["error"]}])
    assert (kept.spans, kept.samples) == (SPANS[:1], [])
    kept = await filtered(
        batch, keep=[{"field": "http.request.method", "equals": "GET"}, {"field": "job", "equals": "y"}]
    )
    assert (kept.spans, kept.samples) == (SPANS, SAMPLES[1:])
    kept = await filtered(batch, keep=[{"field": "name", "matches": "^(up|ratings)"}])
    assert (kept.spans, kept.samples) == (SPANS[1:], SAMPLES[:1])


async def test_a_sample_is_the_share_asked_for_and_the_same_each_time() -> None:
    batch = Batch(logs=[log(f"id/{number}", "m") for number in range(4_000)])
    kept = await filtered(batch, sample=0.25)
    assert 850 < len(kept) < 1_150
    assert names(await filtered(batch, sample=0.25)) == names(kept)
    assert len(await filtered(batch, sample=0.0)) == 0


async def test_spans_of_one_trace_stay_together() -> None:
    batch = Batch(spans=[span(trace, number, None, "reviews") for trace in range(200) for number in range(3)])
    kept = await filtered(batch, sample=0.5)
    traces = [one.trace_id for one in kept.spans]
    assert 0 < len(traces) < 600
    assert all(traces.count(trace) == 3 for trace in traces)


async def test_what_is_dropped_is_counted_and_nothing_is_handed_on_for_nothing() -> None:
    telemetry, sink = Telemetry(), Sink()
    stage = Filter(Settings.model_validate({"sample": 0.0}), telemetry, sink)
    await stage.consume(Batch(logs=RECORDS, spans=SPANS))
    assert sink.batches == []
    shown = telemetry.render().decode()
    assert 'remora_collector_discarded_records_total{signal="logs"} 3.0' in shown
    assert 'remora_collector_discarded_records_total{signal="traces"} 2.0' in shown


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "keeps everything"),
        ({"drop": [{}]}, "is empty"),
        ({"drop": [{"equals": 1}]}, "has equals without a field"),
        ({"drop": [{"field": "a"}]}, "nothing is asked of"),
        ({"drop": [{"field": "a", "matches": "("}]}, "is no expression"),
        ({"drop": [{"severities": ["fatal"]}]}, "'error', 'warning', 'info' or 'debug'"),
        ({"sample": 1.5}, "less than or equal to 1"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(settings)
