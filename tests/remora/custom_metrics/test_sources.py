"""Figures from a Prometheus, and one look for many questions."""

from urllib.parse import parse_qs

import httpx
import pytest

from remora.custom_metrics.load import Load, Loads, Subject
from remora.custom_metrics.sources import Kept, PrometheusSource, Unavailable
from tests.collectors.build import FakeClock


def _answer(values: dict[str, str]) -> httpx.Response:
    result = [
        {"metric": {"namespace": "default", "workload": name}, "value": [1.0, value]} for name, value in values.items()
    ]
    return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})


def _prometheus(request: httpx.Request) -> httpx.Response:
    (expression,) = parse_qs(request.content.decode())["query"]
    assert request.url.path == "/prom/api/v1/query"
    assert "[60s]" in expression
    if "0.99" in expression:
        return _answer({"a": "90", "b": "NaN"})
    if "0.5" in expression:
        return _answer({"a": "9", "b": "NaN"})
    return _answer({"a": "1"}) if "5.." in expression else _answer({"a": "4", "b": "0"})


async def test_rates_shares_and_quantiles_come_together_by_name() -> None:
    async with httpx.AsyncClient(base_url="http://p/prom/", transport=httpx.MockTransport(_prometheus)) as http:
        loads = await PrometheusSource(http, 60).loads(Subject.POD)
    assert loads == {("default", "a"): Load(4.0, 0.25, 9.0, 90.0), ("default", "b"): Load(0.0, None, None, None)}


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(503), httpx.Response(200, text="<html>"), httpx.Response(200, json={"data": {"result": [{}]}})],
)
async def test_an_answer_that_is_none_is_unavailable(answer: httpx.Response) -> None:
    async with httpx.AsyncClient(base_url="http://p/", transport=httpx.MockTransport(lambda _: answer)) as http:
        with pytest.raises(Unavailable, match="Prometheus gives no answer"):
            await PrometheusSource(http, 60).loads(Subject.POD)


class _Counting:
    def __init__(self) -> None:
        self.asked = 0

    async def loads(self, subject: Subject) -> Loads:
        self.asked += 1
        return {}


async def test_many_questions_are_one_look() -> None:
    clock, source = FakeClock(), _Counting()
    kept = Kept(source, clock, 5.0)
    for _ in range(3):
        await kept.loads(Subject.POD)
    assert source.asked == 1
    await kept.loads(Subject.SERVICE)
    clock.time += 5.1
    await kept.loads(Subject.POD)
    assert source.asked == 3
