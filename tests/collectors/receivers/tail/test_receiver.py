"""The tail source as a receiver of the pipeline: under load, refused, stopped and started again."""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.pipeline import Refused
from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.receivers.tail.metadata import MetadataFile
from collectors.receivers.tail.receiver import TailReceiver
from collectors.receivers.tail.settings import Settings, build
from collectors.records import Batch
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from mesh.clock import SystemClock
from tests.collectors.fakes import Sink

Eventually = Callable[..., Awaitable[None]]
ID = "a1" * 32


class Store(Sink):
    """Keeps texts by id, as a store does."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.doubles = 0

    async def consume(self, batch: Batch) -> None:
        await super().consume(batch)
        for record in batch.logs:
            self.doubles += record.id in self.texts
            self.texts[record.id] = str(record.body["message"])
        self.batches.clear()


class Tail:
    def __init__(self, directory: Path, sink: Sink) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(exist_ok=True)
        self.sink = sink
        self.telemetry = Telemetry()
        self.receiver: TailReceiver | None = None

    async def start(self, **settings: Any) -> None:
        clock = SystemClock()
        self.telemetry = Telemetry()
        context = Context(
            clock=clock, rng=random.Random(1), telemetry=self.telemetry, state=self.directory,
            claims=Claims(Members, self.telemetry, clock), credentials=None, stack=AsyncExitStack(),
        )  # fmt: skip
        described = {
            "include": [f"{self.logs}/*.log"],
            "rotate_wait": "500ms",
            "scan": "50ms",
            "node": "n1",
            **settings,
        }
        self.receiver = build(Settings.model_validate(described), context, self.sink)
        await self.receiver.start()

    async def crash(self) -> None:
        """End without a word to the position file."""
        assert self.receiver is not None
        self.receiver._unsaved = False
        self.receiver._stopping = True
        await self.receiver._scope.close()
        if self.receiver._thread is not None:
            await asyncio.wait((self.receiver._thread,))
        self.receiver._tailer.files.close()
        self.receiver = None

    async def close(self) -> None:
        if self.receiver is not None:
            await self.receiver.close()
            self.receiver = None

    def value(self, name: str, **labels: str) -> float:
        return self.telemetry.registry.get_sample_value(name, labels) or 0.0

    def write(self, name: str, *lines: str) -> None:
        with open(self.logs / name, "a") as file:
            file.write("".join(line + "\n" for line in lines))


@pytest.fixture
async def tail(tmp_path: Path) -> AsyncIterator[Tail]:
    tail = Tail(tmp_path, Sink())
    yield tail
    tail.sink.open.set()
    tail.sink.refuse = None
    await tail.close()


@pytest.mark.parametrize("way", ["rename", "copy"])
async def test_under_load_and_rotation_every_line_is_there_once(
    tmp_path: Path, way: str, eventually: Eventually, request: pytest.FixtureRequest
) -> None:
    """20,000 lines a second, a rotation every half second; the collector is stopped once and killed once."""
    seconds = 30 if request.config.getoption("--soak") else 2.5
    store = Store()
    tail = Tail(tmp_path, store)
    # Before the writer: what was rotated before anybody looked for the first time is nobody's to read.
    await tail.start()
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("writer.py")), str(tail.logs / "app.log"), way, str(seconds),
        "20000", "10000", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await eventually(lambda: len(store.texts) > 12_000, "lines come", within=30)
        await tail.close()
        assert store.doubles == 0
        await tail.start()
        await eventually(lambda: len(store.texts) > 28_000, "lines come again", within=30)
        await tail.crash()
        await tail.start()
        output, _ = await asyncio.wait_for(writer.communicate(), seconds + 30)
        written = int(output.split()[0])
        await eventually(lambda: len(store.texts) >= written, f"all {written} lines are there", within=30)
    finally:
        await tail.close()
        if writer.returncode is None:
            writer.kill()
            await writer.wait()
    numbers = sorted(int(text.split()[1]) for text in store.texts.values())
    assert numbers == list(range(written)), "each line once, by its id"


async def test_records_say_whose_they_are(tail: Tail, eventually: Eventually) -> None:
    pod = {"namespace": "default", "pod": "reviews-v1-5d8f-x2x", "uid": "u1", "node": "node-7",
           "workload": "reviews-v1", "labels": {"app": "reviews"}, "containers": {ID: "reviews"}}  # fmt: skip
    (tail.directory / "pods.json").write_text(json.dumps([pod]))
    name = f"reviews-v1-5d8f-x2x_default_reviews-{ID}.log"
    tail.write(name, "2026-01-31T12:00:00.5Z stderr F hello")
    tail.write("plain.log", "no container's")
    await tail.start(metadata_file=str(tail.directory / "pods.json"))
    await eventually(lambda: sum(len(batch.logs) for batch in tail.sink.batches) == 2, "both are there")
    records = {record.workload: record for batch in tail.sink.batches for record in batch.logs}
    record = records["reviews-v1"]
    assert record.time == 1_769_860_800.5
    assert record.tag == "containers.default.reviews-v1-5d8f-x2x.reviews"
    assert record.body == {
        "message": "hello", "stream": "stderr", "log.file.path": str(tail.logs / name),
        "k8s.namespace.name": "default", "k8s.pod.name": "reviews-v1-5d8f-x2x", "k8s.pod.uid": "u1",
        "k8s.container.name": "reviews", "container.id": ID, "k8s.node.name": "node-7",
        "k8s.pod.labels": {"app": "reviews"},
    }  # fmt: skip
    assert records["plain"].tag == "containers.-.-.-"
    assert records["plain"].body["k8s.node.name"] == "n1"


async def test_what_is_learned_of_a_pod_later_is_in_what_comes_later(tail: Tail, eventually: Eventually) -> None:
    name = f"reviews-v1-5d8f-x2x_default_reviews-{ID}.log"
    path = tail.directory / "pods.json"
    path.write_text("[]")
    tail.write(name, "first")
    await tail.start(metadata_file=str(path))
    await eventually(lambda: tail.sink.messages == ["first"], "the first line")
    path.write_text(json.dumps([{"namespace": "default", "pod": "reviews-v1-5d8f-x2x", "workload": "reviews-v1"}]))

    async def known() -> bool:
        tail.write(name, "later")
        return tail.sink.batches[-1].logs[-1].workload == "reviews-v1"

    await eventually(known, "the pod is known")


async def test_nothing_is_lost_while_the_pipeline_takes_nothing(tail: Tail, eventually: Eventually) -> None:
    tail.sink.refuse = Refused("closing", retry=True)
    tail.write("app.log", "a", "b")
    await tail.start()
    await eventually(lambda: tail.value("remora_tail_retries_total") >= 2, "it is tried again")
    assert tail.sink.batches == []
    tail.sink.refuse = None
    await eventually(lambda: tail.sink.messages == ["a", "b"], "both are there")


async def test_what_is_refused_for_good_is_dropped_alone_and_counted(
    tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    class Picky(Sink):
        async def consume(self, batch: Batch) -> None:
            if any(record.body["message"] == "bad" for record in batch.logs):
                raise Refused("not storable", retry=False)
            await super().consume(batch)

    tail = Tail(tmp_path, Picky())
    tail.write("app.log", *["good"] * 20, "bad", *["good"] * 20)
    await tail.start()
    await eventually(lambda: tail.value("remora_tail_refused_records_total") == 1, "one is dropped")
    await eventually(lambda: len(tail.sink.messages) == 40, "the others are there")
    assert "app.log" in caplog.text
    await tail.close()


async def test_what_was_read_is_kept_when_the_pipeline_fails_in_an_unforeseen_way(
    tmp_path: Path, eventually: Eventually
) -> None:
    class Broken(Sink):
        async def consume(self, batch: Batch) -> None:
            if not self.entered:
                self.entered += 1
                raise RuntimeError("a mistake of ours")
            await super().consume(batch)

    tail = Tail(tmp_path, Broken())
    tail.write("app.log", "a")
    await tail.start()
    await eventually(lambda: tail.value("remora_tail_failures_total") == 1, "it fails")
    tail.write("app.log", "b")  # the next turn comes at once
    await eventually(lambda: tail.sink.messages == ["a", "b"], "both are there")
    await tail.close()


async def test_traces_are_joined_and_the_last_one_comes_after_the_time_out(tail: Tail, eventually: Eventually) -> None:
    trace = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "KeyError: 1"]
    tail.write("app.log", "before", *trace, "after", *trace)
    await tail.start(multiline={"languages": ["python"], "timeout": "100ms"})
    joined = "\n".join(trace)
    await eventually(lambda: tail.sink.messages == ["before", joined, "after", joined], "four records")
    severities = [record.severity for batch in tail.sink.batches for record in batch.logs]
    assert severities == ["info", "error", "info", "error"], "whoever looks for errors finds traces"


def test_a_file_of_pods_that_is_not_there_is_said_once_and_read_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pods.json"
    file = MetadataFile(path)
    for now in (0.0, 2.0, 4.0):
        file.refresh(now)
    assert caplog.text.count("pods.json is not read") == 1
    path.write_text(json.dumps([{"namespace": "default", "pod": "a", "workload": "w"}]))
    file.refresh(6.0)
    pod = file.lookup("default", "a", "")
    assert pod is not None
    assert pod.workload == "w"


async def test_a_position_that_cannot_be_saved_is_told_and_saved_later(tail: Tail, eventually: Eventually) -> None:
    await tail.start()
    positions = tail.directory / "tail"
    positions.rename(tail.directory / "away")
    tail.write("app.log", "a")
    await eventually(lambda: tail.value("remora_tail_position_failures_total") >= 1, "it is told")
    (tail.directory / "away").rename(positions)
    await eventually(lambda: "app.log" in (positions / "positions.json").read_text(), "it is saved")


async def test_a_kill_right_after_the_first_start_does_not_make_the_next_one_the_first(
    tail: Tail, eventually: Eventually
) -> None:
    tail.write("old.log", "from before")
    await tail.start(from_end=True, poll="60s")
    await tail.crash()
    tail.write("old.log", "while it was down")
    tail.write("new.log", "new while it was down")
    await tail.start(from_end=True)
    await eventually(lambda: len(tail.sink.messages) == 2, "what came meanwhile is read")
    assert sorted(map(str, tail.sink.messages)) == ["new while it was down", "while it was down"]


async def test_state_is_shown(tail: Tail, eventually: Eventually) -> None:
    tail.write("app.log", "a")
    await tail.start()
    await eventually(lambda: tail.value("remora_tail_records_total") == 1, "counted")
    assert tail.value("remora_tail_files") == 1
    assert tail.value("remora_tail_unread_bytes") == 0
    (tail.logs / "app.log").rename(tail.logs / "app.log.1")
    await eventually(lambda: tail.value("remora_tail_file_events_total", event="renamed") == 1, "counted")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"include": []}, "include"),
        ({"include": ["logs/*.log"]}, "begin it with /"),
        ({"tag": "a b"}, "may have letters"),
        ({"tag": "{pod.__class__}"}, "may have letters"),
        ({"multiline": {}}, "needs languages"),
        ({"multiline": {"languages": ["python"], "start": "x"}}, "and not both"),
        ({"multiline": {"start": "(?=x)"}}, "RE2"),
        ({"multiline": {"languages": ["cobol"]}}, "python"),
        ({"format": "xml"}, "cri"),
        ({"inculde": []}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate({"include": ["/var/log/containers/*.log"], **settings})
