"""The stage: when it decides, what it keeps in memory, and that nothing acknowledged is lost."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from collectors.pipeline import Refused
from collectors.processors.tail_sampling.decisions import Decisions
from collectors.records import Batch, Sample, SpanRecord
from tests.collectors.build import NOW, log, span
from tests.collectors.fakes import Sink
from tests.collectors.processors.tail_sampling.sampling import Sampling

Eventually = Callable[..., Awaitable[None]]


def trace(number: int, *, error: bool = False, spans: int = 2) -> list[SpanRecord]:
    return [span(number, one + 1, one or None, "reviews", error=error and one == 0) for one in range(spans)]


def batch(*spans: SpanRecord) -> Batch:
    return Batch(spans=list(spans), size_bytes=500 * len(spans))


async def test_a_trace_is_kept_or_dropped_whole_though_its_spans_come_apart(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Sampling(tmp_path) as sampling:
        good, bad = trace(1), trace(2, error=True)
        await sampling.stage.consume(batch(good[0], bad[1]))
        await sampling.stage.consume(batch(bad[0], good[1]))
        assert sampling.kept == []
        await eventually(lambda: len(sampling.kept) == 2, "the failed trace is handed on")
        assert sorted(sampling.kept) == sorted(bad)
        assert sampling.count("traces_total", decision="kept") == 1
        assert sampling.count("traces_total", decision="dropped") == 1
        assert sampling.count("spans_total", decision="kept", policy="errors") == 2
        assert sampling.count("spans_total", decision="dropped", policy="none") == 2
        assert sampling.count("pending_traces") == 0


async def test_late_spans_follow_the_decision(tmp_path: Path, eventually: Eventually) -> None:
    async with Sampling(tmp_path) as sampling:
        await sampling.stage.consume(batch(*trace(1), *trace(2, error=True)))
        await eventually(lambda: len(sampling.kept) == 2, "decided")
        late_good, late_bad = span(1, 9, 1, "ratings", error=True), span(2, 9, 1, "ratings")
        await sampling.stage.consume(batch(late_good, late_bad))
        await eventually(lambda: len(sampling.kept) == 3, "the late span follows its trace")
        assert sampling.kept[-1] == late_bad
        assert sampling.count("spans_total", decision="dropped", policy="late") == 1


async def test_logs_and_samples_pass_and_keep_no_spans_company(tmp_path: Path, eventually: Eventually) -> None:
    async with Sampling(tmp_path) as sampling:
        mixed = batch(*trace(1, error=True))
        mixed.logs, mixed.samples = [log("a", "b")], [Sample("m", (), NOW, 1.0)]
        await sampling.stage.consume(mixed)
        (passed,) = sampling.sink.batches
        assert (len(passed.logs), len(passed.samples), len(passed.spans)) == (1, 1, 0)
        await eventually(lambda: len(sampling.kept) == 2, "the spans come later")


async def test_beyond_the_bounds_the_oldest_are_decided_early_and_counted(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Sampling(tmp_path, decision_wait="1h", max_traces=10) as sampling:
        for number in range(1, 31):
            await sampling.stage.consume(batch(*trace(number, error=True)))
        await eventually(lambda: len(sampling.kept) == 40, "20 of 30 are decided")
        assert {one.trace_id for one in sampling.kept} == {f"{number:032x}" for number in range(1, 21)}
        assert sampling.count("early_traces_total") == 20
        assert sampling.count("pending_traces") == 10


async def test_bytes_are_bounded_too_and_senders_wait_when_the_next_stage_stands_still(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Sampling(
        tmp_path, decision_wait="1h", max_bytes="128KiB", disk_bytes="2MiB", policies=[{"type": "always"}]
    ) as sampling:
        sampling.sink.open.clear()
        big = {"text": "x" * 10_000}
        sent = 0

        async def send() -> None:
            nonlocal sent
            for number in range(1, 401):
                await sampling.stage.consume(batch(span(number, 1, None, "a", attributes=big)))
                sent = number

        sending = asyncio.ensure_future(send())
        await eventually(lambda: sampling.count("stalled") == 1, "the buffer is full", within=20)
        assert sent < 400
        assert sampling.count("memory_bytes") < 256 * 1024
        sampling.sink.open.set()
        await asyncio.wait_for(sending, 30)
        await eventually(lambda: len(sampling.kept) >= 380, "what waited is through", within=20)
        assert len({one.trace_id for one in sampling.kept}) == len(sampling.kept)
        assert sampling.count("memory_bytes") <= 128 * 1024


async def test_a_disk_too_small_for_the_wait_makes_decisions_early_rather_than_senders_wait_for_ever(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Sampling(tmp_path, decision_wait="1h", disk_bytes="1MiB") as sampling:
        big = {"text": "x" * 10_000}
        for number in range(1, 201):
            spans = batch(span(number, 1, None, "a", error=True, attributes=big))
            await asyncio.wait_for(sampling.stage.consume(spans), 20)
        assert sampling.count("early_traces_total") > 0
        await eventually(lambda: len(sampling.kept) == sampling.count("early_traces_total"), "handed on")


async def test_what_the_next_stage_cannot_take_now_it_gets_later_and_never_goes_to_the_dead_letters(
    tmp_path: Path, eventually: Eventually
) -> None:
    bad = span(3, 1, None, "hopeless", error=True)

    class Choosy:
        def __init__(self) -> None:
            self.spans: list[SpanRecord] = []
            self.refusals = 2

        async def consume(self, batch: Batch) -> None:
            if self.refusals:
                self.refusals -= 1
                raise Refused("busy", retry=True)
            if bad in batch.spans:
                raise Refused("not storable", retry=False)
            self.spans += batch.spans

    then = Choosy()
    async with Sampling(tmp_path, then) as sampling:
        await sampling.stage.consume(batch(*trace(1, error=True), bad, *trace(2, error=True)))
        await eventually(lambda: len(then.spans) == 4, "the others are through")
        letters = tmp_path / "sampling" / "sampling" / "dead-letters.ndjson"
        await eventually(letters.exists, "the dead letter is written")
        (letter,) = (json.loads(line) for line in letters.read_text().splitlines())
        assert (letter["reason"], letter["record"]["service"]) == ("not storable", "hopeless")
        assert sampling.count("spans_total", decision="dropped", policy="refused") == 1


async def test_undecided_traces_are_decided_after_a_restart(tmp_path: Path, eventually: Eventually) -> None:
    async with Sampling(tmp_path, decision_wait="1h") as sampling:
        await sampling.stage.consume(batch(*trace(1, error=True), *trace(2)))
        await eventually(lambda: sampling.count("pending_traces") == 2, "pending")
    assert sampling.kept == []
    async with Sampling(tmp_path) as sampling:
        await eventually(lambda: len(sampling.kept) == 2, "decided by the next life")


async def test_a_decision_outlives_the_process_that_made_it(tmp_path: Path, eventually: Eventually) -> None:
    async with Sampling(tmp_path) as sampling:
        await sampling.stage.consume(batch(*trace(1), *trace(2, error=True)))
        await eventually(lambda: len(sampling.kept) == 2, "decided")
    async with Sampling(tmp_path, decision_wait="1h") as sampling:
        await sampling.stage.consume(batch(span(1, 9, 1, "a", error=True), span(2, 9, 1, "a")))
        await eventually(lambda: len(sampling.kept) == 1, "the late span of the kept trace")
        assert sampling.kept[0].trace_id == f"{2:032x}"
        assert sampling.count("spans_total", decision="dropped", policy="late") == 1


async def test_two_routes_with_the_same_processor_have_a_buffer_each(tmp_path: Path, eventually: Eventually) -> None:
    async with Sampling(tmp_path) as sampling:
        other = sampling.second()
        await sampling.stage.consume(batch(*trace(1, error=True)))
        await other.consume(batch(*trace(2, error=True)))
        await eventually(lambda: len(sampling.kept) == 4, "both hand on")
        assert sorted(path.name for path in (tmp_path / "sampling").iterdir()) == ["sampling", "sampling.1"]


# A process that is killed.

_CHILD = """
import asyncio, json, sys
from pathlib import Path
from collectors.records import Batch, SpanRecord
from tests.collectors.processors.tail_sampling.sampling import Sampling

class ToFile:
    '''Durable by itself: appends and flushes.'''
    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)
    async def consume(self, batch):
        self.file.write("".join(f"{one.trace_id} {one.span_id}\\n" for one in batch.spans).encode())

async def main():
    state, out, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    async with Sampling(state, ToFile(out), decision_wait="100ms") as sampling:
        if first < 0:
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            return
        number = first
        while True:
            # Each trace in two batches; one in three has failed, as its first span says: the second may come late.
            traces = range(number, number + 20)
            for part in (1, 2):
                spans = [
                    SpanRecord(f"{each:032x}", f"{part:016x}", None, "s", "w", "n", "server", 1.0, 1.0,
                               part == 1 and each % 3 == 0, {}) for each in traces
                ]
                await sampling.stage.consume(Batch(spans=spans, size_bytes=10_000))
            print(number + 19, flush=True)
            number += 20

asyncio.run(main())
"""


@contextlib.contextmanager
def child(state: Path, out: Path, first: int):  # type: ignore[no-untyped-def]
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(state), str(out), str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_three_kills_lose_no_acknowledged_span_of_a_kept_trace(tmp_path: Path, eventually: Eventually) -> None:
    out = tmp_path / "out"
    acknowledged = 0
    for _ in range(3):
        with child(tmp_path / "state", out, acknowledged + 1) as process:
            begun = acknowledged
            while acknowledged < begun + 400:
                acknowledged = int(await asyncio.to_thread(process.stdout.readline))
            process.kill()  # with decisions, hand-overs and acknowledgements under way
    wanted = {
        f"{number:032x} {part:016x}" for number in range(1, acknowledged + 1) if number % 3 == 0 for part in (1, 2)
    }
    with child(tmp_path / "state", out, -1):
        await eventually(lambda: wanted <= set(out.read_text().splitlines()), "everything is there", within=20)
    kept = {int(line.split()[0], 16) for line in out.read_text().splitlines()}
    assert all(number % 3 == 0 for number in kept), "a trace without an error was kept"


# Decisions on disk.


def test_decisions_are_found_again_and_forgotten_by_generations(tmp_path: Path) -> None:
    def remember(decisions: Decisions, numbers: range) -> None:
        for number in numbers:
            decisions.save([decisions.decide(f"{number:032x}", number % 2 == 0)])

    decisions = Decisions(tmp_path, 20)
    remember(decisions, range(1, 16))
    again = Decisions(tmp_path, 20)
    again.load()
    for each in (decisions, again):
        assert [each.get(f"{number:032x}") for number in range(1, 17)] == [*(n % 2 == 0 for n in range(1, 16)), None]
    remember(again, range(16, 36))
    assert again.get(f"{1:032x}") is None
    assert len(again) <= 20
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20 * 17


def test_half_an_entry_is_cut_off(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path, 100)
    decisions.save([decisions.decide(f"{1:032x}", True)])
    with open(tmp_path / "decisions", "ab") as file:
        file.write(b"half")
    again = Decisions(tmp_path, 100)
    again.load()
    again.save([again.decide(f"{2:032x}", False)])
    third = Decisions(tmp_path, 100)
    third.load()
    assert (third.get(f"{1:032x}"), third.get(f"{2:032x}"), len(third)) == (True, False, 2)


async def test_a_disk_that_takes_no_decisions_stops_nothing(
    tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with Sampling(tmp_path) as sampling:
        (tmp_path / "sampling" / "sampling" / "decisions").mkdir()
        await sampling.stage.consume(batch(*trace(1, error=True)))
        await eventually(lambda: len(sampling.kept) == 2, "handed on all the same")
    assert "decisions cannot be saved" in caplog.text


async def test_a_next_stage_that_fails_in_an_unforeseen_way_is_no_silent_end(tmp_path: Path) -> None:
    class Broken(Sink):
        async def consume(self, batch: Batch) -> None:
            raise RuntimeError("a mistake of ours")

    async with Sampling(tmp_path, Broken()) as sampling:
        await sampling.stage.consume(batch(*trace(1, error=True)))
        with pytest.raises(RuntimeError, match="a mistake of ours"):
            await asyncio.wait_for(sampling.context.wait_failed(), 5)
