import asyncio
import errno
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from collectors.delivery.delivery import Delivery
from collectors.delivery.disk import KERNEL, Disk
from collectors.delivery.rounds import READ_ATTEMPTS
from collectors.exporters.sink import Failed, Outcome, Refusal, TooLarge, Unavailable
from collectors.pipeline import Refused
from collectors.records import Batch
from collectors.settings.buffers import BufferSettings, SpillSettings
from mesh.clock import SystemClock
from tests.collectors.build import log
from tests.collectors.delivery.batches import everything, logs, numbered
from tests.collectors.delivery.sinks import FakeBackEnd, ids

Eventually = Callable[..., Awaitable[None]]
Open = Callable[..., Awaitable[Delivery]]

QUICK: dict[str, Any] = {"retry_min": 0.005, "retry_max": 0.02}
KIB = 1 << 10


@pytest.fixture
async def deliver(tmp_path: Path) -> AsyncIterator[Open]:
    """`await deliver(back_end, **settings)`: a delivery into the same directory each time; closed at the end."""
    opened: list[Delivery] = []

    async def open_one(
        back_end: FakeBackEnd, *, ordered: bool = False, disk: Disk = KERNEL, **settings: Any
    ) -> Delivery:
        delivery = await Delivery.open(
            "out",
            back_end,
            BufferSettings.model_construct(**(QUICK | settings)),
            tmp_path / "buffer",
            SystemClock(),
            random.Random(1),
            ordered=ordered,
            disk=disk,
        )
        opened.append(delivery)
        return delivery

    yield open_one
    for delivery in opened:
        if not delivery.closed:
            await delivery.close()


def numbers(first: int, end: int) -> list[str]:
    return list(map(str, range(first, end)))


async def test_what_is_acknowledged_comes_to_the_back_end_in_order(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    delivery = await deliver(back_end, parallel=1)
    for first in range(0, 100, 10):
        await delivery.consume(numbered(first, 10))
    await eventually(lambda: len(back_end.stored) == 100, "all arrive")
    assert back_end.stored == numbers(0, 100)
    assert delivery.stats.sent == {"logs": 100}
    await eventually(lambda: delivery.stats.disk.undelivered_bytes == 0, "nothing is left")
    assert delivery.stats.oldest_time == 0.0


async def test_every_kind_of_record_is_counted_by_signal(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    delivery = await deliver(back_end)
    await delivery.consume(everything())
    await eventually(lambda: delivery.stats.sent.total() == 5, "all are sent")
    assert delivery.stats.sent == delivery.stats.buffered == {"logs": 1, "traces": 2, "metrics": 2}
    assert back_end.requests[0].records() == everything().records()


async def test_it_is_acknowledged_while_the_back_end_is_down_and_sent_after_a_restart(
    deliver: Open, eventually: Eventually
) -> None:
    down = FakeBackEnd(*(Unavailable("connection refused") for _ in range(1000)))
    delivery = await deliver(down)
    for first in range(0, 50, 10):
        await delivery.consume(numbered(first, 10))
    await eventually(lambda: delivery.stats.requests["unavailable"] > 2, "it tries again")
    assert delivery.stats.failing_since > 0
    assert delivery.stats.last_error == "connection refused"
    await delivery.close()
    assert down.closed
    up = FakeBackEnd()
    again = await deliver(up)
    await eventually(lambda: len(up.stored) == 50, "all arrive")
    assert up.stored == numbers(0, 50)
    assert again.stats.buffered.total() == 0


async def test_after_a_restart_only_what_was_under_way_is_sent_again(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    delivery = await deliver(back_end, parallel=1, batch_records=10)
    await delivery.consume(numbered(0, 10))
    await eventually(lambda: len(back_end.stored) == 10, "the first is sent")
    back_end.open.clear()
    await delivery.consume(numbered(10, 10))
    await delivery.consume(numbered(20, 10))
    await eventually(lambda: back_end.under_way == 1, "the second is under way")
    await delivery.close()
    up = FakeBackEnd()
    await deliver(up, parallel=1)
    await eventually(lambda: len(up.stored) == 20, "the rest arrives")
    assert up.stored == numbers(10, 30)


async def test_a_back_end_that_is_busy_is_asked_again_after_the_time_that_it_asked_for(
    deliver: Open, eventually: Eventually
) -> None:
    back_end = FakeBackEnd(Unavailable("429", retry_after_s=0.3))
    delivery = await deliver(back_end)
    began = asyncio.get_running_loop().time()
    await delivery.consume(numbered(0, 1))
    await eventually(lambda: back_end.stored, "it arrives")
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert delivery.stats.failing_since == 0.0


async def test_only_the_records_that_were_not_taken_are_sent_again(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd(lambda batch: Outcome(again=Batch(logs=batch.logs[3:5])))
    delivery = await deliver(back_end)
    await delivery.consume(numbered(0, 6))
    await eventually(lambda: len(back_end.stored) == 6, "all arrive")
    assert [ids(request) for request in back_end.requests] == [numbers(0, 6), ["3", "4"]]
    assert delivery.stats.sent == {"logs": 6}
    assert delivery.stats.again == {"logs": 2}
    assert delivery.stats.requests == {"partial": 1, "ok": 1}


async def test_a_batch_that_is_too_large_is_halved_until_it_passes_and_one_that_never_does_is_a_dead_letter(
    deliver: Open, eventually: Eventually, tmp_path: Path
) -> None:
    class Small(FakeBackEnd):
        async def send(self, batch: Batch) -> Outcome:
            if len(batch) > 2 or "7" in ids(batch):
                raise TooLarge("413")
            return await super().send(batch)

    back_end = Small()
    delivery = await deliver(back_end)
    await delivery.consume(numbered(0, 10))
    await eventually(lambda: delivery.stats.disk.undelivered_bytes == 0, "all is settled")
    assert back_end.stored == [name for name in numbers(0, 10) if name != "7"]
    (letter,) = letters(tmp_path)
    assert (letter["record"]["id"], letter["reason"], letter["exporter"]) == ("7", "too large: 413", "out")
    assert delivery.stats.refused == {"logs": 1}


async def test_what_is_refused_for_good_becomes_a_dead_letter_and_the_rest_flows(
    deliver: Open, eventually: Eventually, tmp_path: Path
) -> None:
    def refuse(batch: Batch) -> Outcome:
        return Outcome(refused=[Refusal(record, "mapper_parsing") for record in (*batch.logs[:1], *batch.spans)])

    back_end = FakeBackEnd(refuse)
    delivery = await deliver(back_end)
    await delivery.consume(everything())
    await delivery.consume(numbered(0, 1))
    await eventually(lambda: delivery.stats.disk.undelivered_bytes == 0, "all is settled")
    found = letters(tmp_path)
    assert [letter["signal"] for letter in found] == ["logs", "traces", "traces"]
    assert found[0]["record"]["body"]["n"] == 1
    assert found[0]["time"].endswith("Z")
    assert delivery.stats.refused == {"logs": 1, "traces": 2}
    assert +delivery.stats.sent == {"logs": 1, "metrics": 2}
    assert (tmp_path / "buffer" / "dead-letters.ndjson").stat().st_mode & 0o077 == 0


async def test_a_record_that_the_sink_cannot_cope_with_does_not_hold_up_the_others(
    deliver: Open, eventually: Eventually, tmp_path: Path
) -> None:
    class Clumsy(FakeBackEnd):
        async def send(self, batch: Batch) -> Outcome:
            if "5" in ids(batch):
                raise KeyError("a mistake of ours")
            return await super().send(batch)

    back_end = Clumsy()
    delivery = await deliver(back_end, retry_min=0.001, retry_max=0.002)
    await delivery.consume(numbered(0, 8))
    await eventually(lambda: delivery.stats.disk.undelivered_bytes == 0, "all is settled")
    assert sorted(back_end.stored) == [name for name in numbers(0, 8) if name != "5"]
    (letter,) = letters(tmp_path)
    assert letter["record"]["id"] == "5"
    assert "KeyError" in letter["reason"]


async def test_a_back_end_that_fails_for_a_moment_costs_no_record(
    deliver: Open, eventually: Eventually, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    back_end = FakeBackEnd(*(Failed("INTERNAL: Stream removed") for _ in range(8)))
    delivery = await deliver(back_end)
    await delivery.consume(numbered(0, 10))
    await eventually(lambda: len(back_end.stored) == 10, "all arrive")
    assert sorted(map(int, back_end.stored)) == list(range(10))
    assert delivery.stats.requests["failed"] == 8
    assert delivery.stats.refused.total() == 0
    assert "Traceback" not in caplog.text, "it is no mistake of ours"


async def test_an_ordered_sink_never_gets_two_requests_at_once_nor_newer_before_older(
    deliver: Open, eventually: Eventually
) -> None:
    back_end = FakeBackEnd(
        lambda batch: Outcome(again=Batch(logs=batch.logs[1:])), Unavailable("503"), Unavailable("503")
    )
    delivery = await deliver(back_end, ordered=True, parallel=8, batch_records=5)
    await asyncio.gather(*(delivery.consume(numbered(first, 5)) for first in range(0, 40, 5)))
    await eventually(lambda: len(back_end.stored) == 40, "all arrive")
    assert back_end.most_under_way == 1
    assert back_end.stored == numbers(0, 40)


async def test_as_many_requests_are_under_way_as_the_settings_say(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    back_end.open.clear()
    delivery = await deliver(back_end, parallel=3, batch_records=5)
    await asyncio.gather(*(delivery.consume(numbered(first, 5)) for first in range(0, 40, 5)))
    await eventually(lambda: back_end.under_way == 3, "three are under way")
    assert delivery.stats.in_flight == 3
    back_end.open.set()
    await eventually(lambda: len(back_end.stored) == 40, "all arrive")
    assert back_end.most_under_way == 3
    assert max(map(len, back_end.requests)) == 5


async def test_what_waits_is_sent_together_and_lingers_for_more_if_asked_to(
    deliver: Open, eventually: Eventually
) -> None:
    back_end = FakeBackEnd()
    delivery = await deliver(back_end, linger=30.0, batch_records=10)
    for first in range(9):
        await delivery.consume(numbered(first, 1))
    assert back_end.requests == []
    await delivery.consume(numbered(9, 1))
    await eventually(lambda: len(back_end.stored) == 10, "full, it leaves")
    assert len(back_end.requests) == 1


async def test_it_lingers_no_longer_than_asked_to(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    delivery = await deliver(back_end, linger=0.05)
    await delivery.consume(numbered(0, 1))
    await eventually(lambda: back_end.stored == ["0"], "it leaves")


async def test_a_slow_back_end_costs_disk_and_no_memory(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    back_end.open.clear()
    delivery = await deliver(back_end, memory_bytes=10 * KIB, batch_records=20, parallel=1)
    for first in range(0, 1_000, 20):
        await delivery.consume(numbered(first, 20, pad=100))
    stats = delivery.stats
    assert stats.memory_bytes <= 10 * KIB < stats.disk.undelivered_bytes
    back_end.open.set()
    await eventually(lambda: len(back_end.stored) == 1_000, "all arrive")
    assert back_end.stored == numbers(0, 1_000)
    await delivery.consume(numbered(1_000, 1))
    await eventually(lambda: back_end.stored[-1] == "1000", "what comes after is not forgotten")


@pytest.mark.parametrize("memory_bytes", [0, 4 << 20])
async def test_producers_and_sender_at_their_own_pace_lose_and_double_nothing(
    deliver: Open, eventually: Eventually, memory_bytes: int
) -> None:
    rng = random.Random(3)

    class Fickle(FakeBackEnd):
        async def send(self, batch: Batch) -> Outcome:
            await asyncio.sleep(rng.random() * 0.002)
            if rng.random() < 0.2:
                raise Unavailable("503")
            return await super().send(batch)

    back_end = Fickle()
    delivery = await deliver(
        back_end, memory_bytes=memory_bytes, segment_bytes=64 * KIB, batch_records=50, retry_min=0.001, retry_max=0.002
    )

    async def produce(offset: int) -> None:
        for first in range(offset, offset + 500, 10):
            await delivery.consume(numbered(first, 10, pad=rng.randrange(300)))

    await asyncio.gather(*(produce(offset) for offset in range(0, 2_000, 500)))
    await eventually(lambda: delivery.stats.disk.undelivered_bytes == 0, "all is settled")
    assert sorted(back_end.stored, key=int) == numbers(0, 2_000)
    assert delivery.stats.disk.bytes < 256 * KIB


async def test_a_full_buffer_makes_senders_wait_and_acknowledges_again_when_there_is_room(
    deliver: Open, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    back_end = FakeBackEnd()
    back_end.open.clear()
    delivery = await deliver(back_end, max_bytes=256 * KIB, batch_records=100)
    acknowledged = 0

    async def produce() -> None:
        nonlocal acknowledged
        for first in range(0, 1_000, 10):
            await delivery.consume(numbered(first, 10, pad=900))
            acknowledged += 10

    producer = asyncio.ensure_future(produce())
    await eventually(lambda: delivery.stats.stalled, "it is full")
    assert "is full" in delivery.stats.stalled
    assert delivery.stats.disk.bytes <= 256 * KIB
    assert 100 < acknowledged < 400
    back_end.open.set()
    await producer
    await eventually(lambda: len(back_end.stored) == 1_000, "all arrive")
    assert delivery.stats.stalled == ""
    assert "nothing is acknowledged until that changes" in caplog.text
    assert "takes records again" in caplog.text


async def test_a_full_buffer_that_drops_the_oldest_counts_what_it_dropped(
    deliver: Open, eventually: Eventually
) -> None:
    back_end = FakeBackEnd()
    back_end.open.clear()
    delivery = await deliver(back_end, max_bytes=256 * KIB, overflow="drop_oldest", memory_bytes=0, batch_records=50)
    for first in range(0, 1_000, 10):
        await delivery.consume(numbered(first, 10, pad=900))
    dropped = delivery.stats.dropped["logs", "overflow"]
    assert dropped > 500
    assert delivery.stats.disk.bytes <= 256 * KIB
    assert delivery.stats.stalled == ""
    back_end.open.set()
    await eventually(lambda: delivery.stats.disk.undelivered_bytes == 0, "what is left arrives")
    assert len(back_end.stored) == 1_000 - dropped
    assert back_end.stored[-1] == "999"


async def test_a_full_buffer_that_spills_goes_on_in_the_second_directory(
    deliver: Open, eventually: Eventually, tmp_path: Path
) -> None:
    back_end = FakeBackEnd()
    back_end.open.clear()
    spill = SpillSettings.model_construct(directory=tmp_path / "slow", max_bytes=4 << 20)
    delivery = await deliver(back_end, max_bytes=256 * KIB, overflow="spill", spill=spill)
    for first in range(0, 1_000, 10):
        await delivery.consume(numbered(first, 10, pad=900))
    assert len(list((tmp_path / "slow").glob("*.segment"))) > 2
    back_end.open.set()
    await eventually(lambda: len(back_end.stored) == 1_000, "all arrive")
    await eventually(lambda: not list((tmp_path / "slow").glob("*.segment")), "nothing stays behind")


async def test_what_is_too_old_is_dropped_and_counted(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd(*(Unavailable("down") for _ in range(10_000)))
    delivery = await deliver(back_end, max_age=1.0, memory_bytes=0, batch_records=10)
    for first in range(0, 50, 10):
        await delivery.consume(numbered(first, 10))
    await eventually(lambda: delivery.stats.dropped["logs", "age"] >= 30, "they are dropped", within=10)
    assert delivery.stats.dropped["logs", "age"] <= 40, "what is being sent is seen through"


class FailingDisk:
    """Takes only half of it while it is `broken`."""

    def __init__(self, number: int, *, broken: bool = False) -> None:
        self.broken = broken
        self.calls = Disk(writev=self._writev, retry_s=0.05)
        self._number = number

    def _writev(self, fd: int, parts: Sequence[bytes | memoryview]) -> int:
        if self.broken and len(parts) > 1:
            # Half of it is written, as on a disk that fills up.
            data = b"".join(parts)
            os.write(fd, data[: len(data) // 2])
            raise OSError(self._number, os.strerror(self._number))
        return os.writev(fd, parts)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=lambda number: errno.errorcode[number])
async def test_a_disk_that_takes_nothing_means_no_acknowledgement_until_it_does(
    deliver: Open,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    back_end = FakeBackEnd()
    disk = FailingDisk(number)
    delivery = await deliver(back_end, disk=disk.calls)
    await delivery.consume(numbered(0, 5))
    disk.broken = True
    waiting = asyncio.ensure_future(delivery.consume(numbered(5, 5)))
    await eventually(lambda: delivery.stats.stalled, "it cannot be written")
    assert os.strerror(number) in delivery.stats.stalled
    assert os.strerror(number) in caplog.text
    assert not waiting.done()
    disk.broken = False
    await waiting
    await eventually(lambda: len(back_end.stored) == 10, "all arrive")
    assert back_end.stored == numbers(0, 10)
    assert delivery.stats.stalled == ""


async def test_who_gives_up_waiting_leaves_nothing_in_memory(deliver: Open, eventually: Eventually) -> None:
    back_end = FakeBackEnd()
    disk = FailingDisk(errno.ENOSPC, broken=True)
    delivery = await deliver(back_end, disk=disk.calls)
    waiting = asyncio.ensure_future(delivery.consume(numbered(0, 5)))
    await eventually(lambda: delivery.stats.stalled, "it cannot be written")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    disk.broken = False
    await delivery.consume(numbered(5, 5))
    await eventually(lambda: back_end.stored, "the other arrives")
    assert back_end.stored == numbers(5, 10)


async def test_a_buffer_that_cannot_be_read_back_puts_the_segment_aside_and_goes_on(
    deliver: Open, eventually: Eventually
) -> None:
    def lost(path: Path, flags: int) -> int:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.open(path, flags)

    broken = True
    back_end = FakeBackEnd()
    delivery = await deliver(back_end, memory_bytes=0, disk=Disk(open=lost, retry_s=0.05))
    await delivery.consume(numbered(0, 5))
    await eventually(lambda: delivery.stats.disk.quarantined.total == 5, "it gives up")
    broken = False
    await delivery.consume(numbered(5, 5))
    await eventually(lambda: len(back_end.stored) == 5, "what is new arrives")
    assert back_end.stored == numbers(5, 10)
    assert delivery.stats.disk.quarantined_segments == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM], ids=lambda number: errno.errorcode[number])
async def test_what_cannot_be_read_for_want_of_descriptors_or_memory_waits_until_there_are_some(
    deliver: Open, eventually: Eventually, number: int
) -> None:
    attempts = 0

    def scarce(path: Path, flags: int) -> int:
        nonlocal attempts
        attempts += 1
        if attempts <= READ_ATTEMPTS + 2:
            raise OSError(number, os.strerror(number))
        return os.open(path, flags)

    back_end = FakeBackEnd()
    delivery = await deliver(back_end, memory_bytes=0, disk=Disk(open=scarce, retry_s=0.05))
    await delivery.consume(numbered(0, 5))
    await eventually(lambda: len(back_end.stored) == 5, "all arrive")
    assert delivery.stats.disk.quarantined_segments == 0


async def test_a_batch_that_cannot_be_written_at_all_is_refused_for_good(deliver: Open) -> None:
    delivery = await deliver(FakeBackEnd(), max_bytes=256 * KIB)
    deep: dict[str, Any] = {}
    for _ in range(2_000):
        deep = {"a": deep}
    for batch in (Batch(logs=[log("a", "m", deep=deep)]), logs("a", pad=300_000)):
        with pytest.raises(Refused) as caught:
            await delivery.consume(batch)
        assert not caught.value.retry
    await delivery.consume(logs("b", pad=200_000))


async def test_a_closed_delivery_refuses_what_may_come_again(deliver: Open) -> None:
    delivery = await deliver(FakeBackEnd())
    await delivery.close()
    with pytest.raises(Refused) as caught:
        await delivery.consume(numbered(0, 1))
    assert caught.value.retry


async def test_a_disk_that_takes_a_little_at_a_time_gets_everything(deliver: Open, eventually: Eventually) -> None:
    def little(fd: int, parts: Sequence[bytes | memoryview]) -> int:
        return os.write(fd, bytes(parts[0])[:100])

    back_end = FakeBackEnd()
    delivery = await deliver(back_end, memory_bytes=0, disk=Disk(writev=little))
    await asyncio.gather(*(delivery.consume(numbered(first, 10)) for first in range(0, 50, 10)))
    await eventually(lambda: len(back_end.stored) == 50, "all arrive")
    assert delivery.stats.disk.quarantined_segments == 0


@pytest.mark.parametrize("fsync", [0.0, 0.05, None], ids=["always", "interval", "never"])
async def test_the_fsync_policy_is_kept(deliver: Open, eventually: Eventually, fsync: float | None) -> None:
    synced = 0

    def count(fd: int) -> None:
        nonlocal synced
        synced += 1
        os.fdatasync(fd)

    back_end = FakeBackEnd()
    back_end.open.clear()
    delivery = await deliver(back_end, fsync=fsync, disk=Disk(fdatasync=count))
    for number in range(5):
        await delivery.consume(numbered(number, 1))
    if fsync == 0.0:
        assert synced == 5, "each before its acknowledgement"
    elif fsync is None:
        assert synced == 0
    else:
        await eventually(lambda: synced, "after a while")
        assert synced < 5
    back_end.open.set()
    await eventually(lambda: len(back_end.stored) == 5, "all arrive")


async def test_all_that_waits_is_written_with_one_fsync(deliver: Open) -> None:
    delivery = await deliver(FakeBackEnd())
    await asyncio.gather(*(delivery.consume(numbered(number, 1)) for number in range(100)))
    assert delivery.stats.syncs <= 3


async def test_a_sink_prepares_itself_before_the_first_batch_however_often_it_takes(
    deliver: Open, eventually: Eventually
) -> None:
    class Prepared(FakeBackEnd):
        prepared = 0

        async def prepare(self) -> None:
            self.prepared += 1
            assert not self.requests
            if self.prepared < 3:
                raise Unavailable("not yet")

    back_end = Prepared()
    delivery = await deliver(back_end)
    await delivery.consume(numbered(0, 5))
    await eventually(lambda: len(back_end.stored) == 5, "it arrives")
    assert back_end.prepared == 3


def letters(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "buffer" / "dead-letters.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()]
