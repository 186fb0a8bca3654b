import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.records import Batch, LogRecord
from collectors.store import Limits, Reader, RejectedBatch, Store, StoreClosed, StoreError
from collectors.store.schema import open_writer
from tests.collectors.build import NOW, FakeClock, access, labels, log, requests, span

Eventually = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.sqlite"


@pytest.fixture
def reading(path: Path) -> Iterator[Callable[[], Reader]]:
    """Opens the reader, once there is a store."""
    opened: list[Reader] = []

    def reader() -> Reader:
        if not opened:
            opened.append(Reader.open(path))
        return opened[0]

    yield reader
    for one in opened:
        one.close()


def quick(**changes: Any) -> Limits:
    return Limits(**{"retry_s": 0.01, "retention_every_s": 0.01, **changes})


def test_what_is_sent_again_is_stored_once(path: Path, reading: Callable[[], Reader]) -> None:
    store = Store.open(path, clock=FakeClock())
    batch = Batch(logs=[access(1), access(2), access(1)], spans=[span(1, 1, None, "a")])
    batch.samples = [requests(NOW, 1, labels("a-v1", "b-v1"))]
    for _ in range(3):
        store.submit(batch).result(10)
    store.close()
    assert reading().count_logs() == 2
    assert len(reading().trace(f"{1:032x}")) == 1
    assert store.stats.duplicates == 15 - 4


def test_text_of_a_duplicate_is_not_indexed_twice(path: Path, reading: Callable[[], Reader]) -> None:
    store = Store.open(path, clock=FakeClock())
    for _ in range(2):
        store.submit(Batch(logs=[access(1), access(2)])).result(10)
    store.close()
    assert reading().count_logs(text="reviews") == 2


def test_many_senders_share_transactions(path: Path) -> None:
    store = Store.open(path, clock=FakeClock())
    futures = []

    def send(sender: int) -> None:
        futures.extend(store.submit(Batch(logs=[access(n, id=f"{sender}/{n}")])) for n in range(100))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for future in futures:
        future.result(10)
    store.close()
    assert store.stats.logs == 800
    assert store.stats.commits < 400


def test_one_who_cannot_be_stored_is_refused_alone(path: Path) -> None:
    store = Store.open(path, clock=FakeClock())
    good = log("good", "x")
    bad = [
        good._replace(id="nan", time=float("nan")),
        good._replace(id="surrogate", tag="\ud800"),
        good._replace(id="body", body={"x": {1, 2}}),
        good._replace(id="none", workload=None),  # type: ignore[arg-type]
        good._replace(id="large", body={"x": 1 << 70}),
    ]
    futures = [store.submit(Batch(logs=[record])) for record in (good, *bad, good._replace(id="good2"))]
    assert futures[0].result(10) is None
    assert futures[-1].result(10) is None
    for future in futures[1:-1]:
        with pytest.raises(RejectedBatch):
            future.result(10)
    store.close()
    assert store.stats.logs == 2
    assert store.stats.rejected == len(bad)


def test_close_writes_what_waits_and_then_refuses(path: Path) -> None:
    store = Store.open(path, clock=FakeClock())
    futures = [store.submit(Batch(logs=[access(number)])) for number in range(200)]
    store.close()
    assert all(future.result(0) is None for future in futures)
    with pytest.raises(StoreClosed):
        store.submit(Batch(logs=[access(1)])).result(0)


def test_only_one_process_writes(path: Path) -> None:
    store = Store.open(path)
    with pytest.raises(StoreError, match="another process"):
        Store.open(path)
    store.close()
    Store.open(path).close()


def test_files_are_their_owner_s_alone(path: Path) -> None:
    store = Store.open(path, clock=FakeClock())
    store.submit(Batch(logs=[access(1)])).result(10)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    store.close()
    assert set(modes.values()) == {0o600}
    assert set(modes) >= {"telemetry.sqlite", "telemetry.sqlite-wal"}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_broken_file_is_moved_aside_loudly(
    path: Path, reading: Callable[[], Reader], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(os.urandom(100_000))
    store = Store.open(path, clock=FakeClock())
    store.submit(Batch(logs=[access(1)])).result(10)
    store.close()
    assert reading().count_logs() == 1
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.stat().st_size == 100_000
    assert any(record.levelname == "CRITICAL" and str(aside) in record.message for record in caplog.records)


def test_a_file_that_breaks_while_in_use_is_moved_aside_and_the_record_stored(
    path: Path, reading: Callable[[], Reader]
) -> None:
    store = Store.open(path, clock=FakeClock(), limits=quick())
    store.submit(Batch(logs=[access(number) for number in range(2000)])).result(10)
    store.close()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    store = Store.open(path, clock=FakeClock(), limits=quick())
    store.submit(Batch(logs=[access(5000)])).result(10)
    store.close()
    assert store.stats.quarantined == 1
    assert [entry.id for entry in reading().logs()] == [access(5000).id]


def test_only_a_few_broken_files_are_kept(path: Path) -> None:
    path.parent.mkdir()
    clock = FakeClock()
    for _ in range(6):
        path.write_bytes(b"broken" * 1000)
        clock.time += 1
        Store.open(path, clock=clock).close()
    assert len(list(path.parent.glob("*.corrupt-*"))) == 3


def test_a_store_of_a_newer_program_is_not_touched(path: Path) -> None:
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer"):
        Store.open(path)
    with pytest.raises(StoreError, match="version 99"):
        Reader.open(path)
    assert not list(path.parent.glob("*.corrupt-*"))


async def test_a_full_disk_acknowledges_nothing_and_recovers_by_itself(
    path: Path, reading: Callable[[], Reader], eventually: Eventually
) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        # What SQLite says at its page limit is what it says when the disk is full: SQLITE_FULL.
        connection = open_writer(path)
        connection.execute("PRAGMA max_page_count = 120")
        connections.append(connection)
        return connection

    connections: list[sqlite3.Connection] = []
    store = Store.open(path, clock=FakeClock(), limits=quick(retention_every_s=1e9), connect=connect)
    done = [store.submit(Batch(logs=[access(number + 100 * many) for number in range(100)])) for many in range(20)]
    await eventually(lambda: store.stats.stalled, "the disk is full")
    assert "full" in store.stats.stalled
    acknowledged = sum(future.done() for future in done)
    assert acknowledged < 20
    assert reading().count_logs() >= 100 * acknowledged
    connections[-1].execute("PRAGMA max_page_count = 100000")
    for future in done:
        future.result(10)
    assert store.stats.stalled == ""
    store.close()
    assert reading().count_logs() == 2000


async def test_closing_while_the_disk_is_full_tells_senders_that_it_is_not_stored(
    path: Path, eventually: Eventually
) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        connection = open_writer(path)
        connection.execute("PRAGMA max_page_count = 60")
        return connection

    store = Store.open(path, clock=FakeClock(), limits=quick(), connect=connect)
    futures = [store.submit(Batch(logs=[access(n + 1000 * many) for n in range(1000)])) for many in range(3)]
    await eventually(lambda: store.stats.stalled, "the disk is full")
    store.close()
    for future in futures:
        with pytest.raises(StoreClosed):
            future.result(0)


FULL_DISK = """
import sys
from pathlib import Path
from collectors.records import Batch
from collectors.store import Limits, Store
from tests.collectors.build import FakeClock, access
filler = Path(sys.argv[1]) / "filler"
filler.write_bytes(bytes(1_100_000))
store = Store.open(Path(sys.argv[1]) / "t.sqlite", clock=FakeClock(), limits=Limits(retry_s=0.01))
futures = [store.submit(Batch(logs=[access(n + 50 * m) for n in range(50)])) for m in range(6)]
while not store.stats.stalled:
    pass
assert not futures[-1].done()
filler.unlink()
for future in futures:
    future.result(20)
store.close()
print(store.stats.logs, store.stats.rejected)
"""


def test_a_disk_that_is_really_full_is_waited_for(tmp_path: Path) -> None:
    """On a tmpfs of 1.5 MB in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = 'mount -t tmpfs -o size=1500k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, "sh", str(disk), sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    if "unshare" in result.stderr or "permission denied" in result.stderr:
        pytest.skip(f"needs user and mount namespaces (sysctl kernel.unprivileged_userns_clone=1): {result.stderr}")
    assert result.stdout.split() == ["300", "0"], result.stderr


def test_what_is_too_old_leaves_with_its_text(path: Path, reading: Callable[[], Reader]) -> None:
    clock = FakeClock()
    store = Store.open(path, clock=clock, limits=quick(retention_s=3600))
    old = Batch(logs=[access(n) for n in range(5000)], spans=[span(1, 1, None, "a")])
    old.samples = [requests(NOW, 1, labels("a-v1", "b-v1")), requests(NOW + 3000, 1, labels("c-v1", "d-v1"))]
    store.submit(old).result(10)
    store.submit(Batch(logs=[access(9000, time=NOW + 3000)], spans=[span(2, 1, None, "b", start=NOW + 3000)])).result(
        10
    )
    clock.time += 3700
    while store.stats.retained_out < 5000:
        store.submit(Batch(logs=[access(9001, time=NOW + 3700)])).result(10)
        clock.time += 1
    store.close()
    reader = reading()
    assert reader.count_logs() == reader.count_logs(text="reviews") == 2
    assert [summary.root_service for summary in reader.traces()] == ["b"]
    assert reader.series("istio_requests_total", {"source_workload": "a-v1"}) == []
    assert len(reader.series("istio_requests_total")) == 1


def test_a_store_over_its_size_loses_its_oldest_and_gives_the_space_back(
    path: Path, reading: Callable[[], Reader]
) -> None:
    clock = FakeClock()
    store = Store.open(path, clock=clock, limits=quick(max_bytes=8 << 20))
    for many in range(60):
        store.submit(Batch(logs=[access(n + 500 * many, time=NOW + many) for n in range(500)])).result(10)
        clock.time += 1
    store.close()
    assert path.stat().st_size < 12 << 20
    entries = reading().logs(limit=10_000)
    assert entries[0].time == NOW + 59
    assert 1000 < reading().count_logs() < 10_000
    assert min(entry.time for entry in entries) > NOW + 30, "the oldest go first"
    assert reading().count_logs(text="reviews") == reading().count_logs()


KILLED = """
import sys
from pathlib import Path
from collectors.records import Batch
from collectors.store import Store
from tests.collectors.build import access
store = Store.open(Path(sys.argv[1]))
import time
for first in range(0, 1_000_000, 10):
    store.submit(Batch(logs=[access(n, time=time.time()) for n in range(first, first + 10)])).result(10)
    print(first + 10, flush=True)
"""


def test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_acknowledged(
    path: Path, reading: Callable[[], Reader]
) -> None:
    acknowledged = 0
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 2000:
                process.kill()
                break
        for line in process.stdout:
            acknowledged = int(line)
    numbers = set()
    after = 0
    while page := reading().logs(after_rowid=after, limit=10_000):
        after = page[0].rowid if page[0].rowid > page[-1].rowid else page[-1].rowid
        numbers |= {int(entry.id.rpartition("/")[2]) for entry in page}
    assert set(range(acknowledged)) <= numbers


def test_a_record_is_stored_with_hostile_content_as_one_printable_line(
    path: Path, reading: Callable[[], Reader]
) -> None:
    store = Store.open(path, clock=FakeClock())
    hostile = {"message": "a\r\nb\x1b[31m\0 <script>", "key": ["x", {"y": None}]}
    store.submit(Batch(logs=[LogRecord("1", NOW, "app", "", "info", None, hostile)])).result(10)
    store.submit(Batch(logs=[log("2", "x" * 100_000)])).result(10)
    store.close()
    entries = {entry.id: entry for entry in reading().logs()}
    assert entries["1"].message.isprintable()
    assert entries["1"].body == hostile
    assert len(entries["2"].message) < 40_000
    assert len(entries["2"].body["message"]) == 100_000
