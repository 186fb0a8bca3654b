"""What the sink makes of a back end's answers."""

import math
from collections.abc import Callable

import cramjam
import pytest
from pydantic import ValidationError

from collectors.exporters.remote_write.encoding import Encoder
from collectors.exporters.remote_write.settings import Settings
from collectors.exporters.remote_write.sink import MAX_REQUESTS, RemoteWriteSink
from collectors.exporters.sink import TooLarge, Unavailable
from collectors.records import Batch, Histogram, Sample
from tests.collectors.build import NOW
from tests.collectors.exporters.remote_write.messages import series_of

Answer = tuple[int, bytes] | Exception


class BackEnd:
    """Answers as `judge` says of the series of a request; keeps what it took."""

    def __init__(self, judge: Callable[[dict[str, list[tuple[int, float]]]], Answer] = lambda _: (204, b"")) -> None:
        self.judge = judge
        self.taken: list[dict[str, list[tuple[int, float]]]] = []
        self.requests = 0
        self.headers: dict[str, str] = {}

    async def post(self, path: str, body: bytes, content_type: str, headers: dict[str, str]) -> tuple[int, bytes]:
        assert (path, content_type) == ("", "application/x-protobuf")
        self.requests += 1
        self.headers = headers
        series = series_of(bytes(cramjam.snappy.decompress_raw(body)))
        answer = self.judge(series)
        if isinstance(answer, Exception):
            raise answer
        if answer[0] < 300:
            self.taken.append(series)
        return answer

    async def close(self) -> None:
        pass

    def values(self, name: str) -> list[float]:
        return [value for series in self.taken for key, found in series.items() if name in key for _, value in found]


def sink(back_end: BackEnd, *, shards: int = 1, max_series: int = 2_000) -> RemoteWriteSink:
    return RemoteWriteSink(back_end, Encoder({}, exemplars=True), shards=shards, max_series=max_series)


def readings(count: int, times: int = 1) -> Batch:
    series = [(("n", f"{number:04d}"),) for number in range(count)]
    return Batch(samples=[Sample("x", labels, NOW + at, at) for at in range(times) for labels in series])


async def test_a_request_has_the_headers_of_version_1() -> None:
    back_end = BackEnd()
    outcome = await sink(back_end).send(readings(3))
    assert back_end.headers["content-encoding"] == "snappy"
    assert back_end.headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert (len(outcome.again), outcome.refused) == (0, [])
    assert len(back_end.taken[0]) == 3


async def test_each_series_is_in_one_shard_and_stays_in_order() -> None:
    back_end = BackEnd()
    await sink(back_end, shards=4, max_series=100).send(readings(500, times=3))
    assert back_end.requests >= 16
    order: dict[str, list[int]] = {}
    for series in back_end.taken:
        for key, found in series.items():
            order.setdefault(key, []).extend(at for at, _ in found)
    assert len(order) == 500
    assert all(times == sorted(times) and len(times) == 3 for times in order.values())


async def test_a_histogram_counts_as_its_buckets() -> None:
    back_end = BackEnd()
    histogram = Histogram((*(float(each) for each in range(50)), math.inf), (0,) * 51, 0.0)
    batch = Batch(samples=[Sample("d", (("n", str(n)),), NOW, 0, histogram) for n in range(4)])
    await sink(back_end, max_series=110).send(batch)
    assert [len(series) for series in back_end.taken] == [106, 106]


async def test_one_bad_sample_is_found_and_the_others_are_stored() -> None:
    bad = 'x{n="0321"}'
    back_end = BackEnd(lambda series: (400, b"out of order sample") if bad in series else (204, b""))
    outcome = await sink(back_end).send(readings(1000))
    (refusal,) = outcome.refused
    assert refusal.record.labels == (("n", "0321"),)  # type: ignore[union-attr]
    assert "out of order sample" in refusal.why
    assert sum(map(len, back_end.taken)) == 999
    assert back_end.requests < 30


async def test_many_bad_samples_among_good_ones_cost_no_good_one() -> None:
    bad = {f'x{{n="{number:04d}"}}' for number in range(0, 1000, 25)}
    back_end = BackEnd(lambda series: (400, b"out of order sample") if bad & series.keys() else (204, b""))
    batch, refused, rounds = readings(1000), [], 0
    while len(batch):
        before = back_end.requests
        outcome = await sink(back_end).send(batch)
        assert back_end.requests - before <= MAX_REQUESTS
        assert len(outcome.again) < len(batch)
        refused += [f'x{{n="{dict(each.record.labels)["n"]}"}}' for each in outcome.refused]  # type: ignore[union-attr]
        batch, rounds = outcome.again, rounds + 1
    assert rounds > 1
    assert sorted(refused) == sorted(bad)
    assert sum(map(len, back_end.taken)) == 1000 - len(bad)


async def test_a_back_end_that_refuses_everything_is_not_asked_for_ever() -> None:
    back_end = BackEnd(lambda _: (400, b"no"))
    batch, refused = readings(500), 0
    while len(batch):
        before = back_end.requests
        outcome = await sink(back_end).send(batch)
        assert back_end.requests - before <= MAX_REQUESTS, "then others have their turn, and the delivery waits"
        assert outcome.refused
        refused, batch = refused + len(outcome.refused), outcome.again
    assert refused == 500
    assert back_end.requests < 2 * 500 + 50


async def test_a_request_that_is_too_large_is_halved() -> None:
    back_end = BackEnd(lambda series: TooLarge("413") if len(series) > 100 else (204, b""))
    outcome = await sink(back_end).send(readings(1000))
    assert outcome.refused == []
    assert sum(map(len, back_end.taken)) == 1000


@pytest.mark.parametrize("answer", [(500, b"disk"), Unavailable("no connection", retry_after_s=7)])
async def test_while_nothing_is_taken_the_delivery_is_told_to_come_again(answer: Answer) -> None:
    with pytest.raises(Unavailable) as raised:
        await sink(BackEnd(lambda _: answer), shards=3).send(readings(30))
    assert raised.value.retry_after_s == (7 if isinstance(answer, Exception) else None)


async def test_of_a_shard_that_fails_half_way_the_rest_comes_again_in_order() -> None:
    back_end = BackEnd()
    back_end.judge = lambda _: (204, b"") if back_end.requests <= 2 else Unavailable("gone", retry_after_s=3)
    outcome = await sink(back_end, max_series=100).send(readings(250, times=2))
    assert sum(map(len, back_end.taken)) == 200
    again = outcome.again.samples
    assert len(again) == 300
    assert [sample.time for sample in again] == sorted(sample.time for sample in again)
    assert outcome.retry_after_s == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"compression": "gzip"}, "always compressed with snappy"),
        ({"external_labels": {"a-b": "c"}}, "is no label name"),
        ({"external_labels": {"__name__": "c"}}, "is no label name"),
        ({"shards": 0}, "greater than or equal to 1"),
        ({"url": "ftp://x"}, "is no URL of HTTP"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(**{"url": "http://127.0.0.1:9090/api/v1/write", **fields})  # type: ignore[arg-type]
