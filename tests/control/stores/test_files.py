"""The file store: all or nothing, also when the disk is full or the process dies; never an empty mesh by mistake."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from control.api import Key, Resource, Workload
from control.stores import FileStore, NothingApplied, StoreCorrupt, StoreError
from control.stores.files import WatchEvent
from control.stores.journal import KERNEL, MANY_FILES
from tests.control.translate.bookinfo import WORKLOADS, parsed, rule, workload


class FixedClock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def rules(*names: str, version: str = "v1") -> tuple[Resource, ...]:
    texts = [
        rule("DestinationRule", name, f"host: {name}\nsubsets: [{{name: {version}, labels: {{version: {version}}}}}]")
        for name in names
    ]
    return parsed(*texts).resources


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    store = FileStore(tmp_path, clock=FixedClock())
    store.open()
    yield store
    store.close()


def reopened(store: FileStore, path: Path) -> FileStore:
    store.close()
    again = FileStore(path)
    again.open()
    return again


def test_a_new_directory_becomes_an_empty_store(store: FileStore, tmp_path: Path) -> None:
    assert not store.world.resources
    assert store.world.generation == 1
    assert (tmp_path / "rules").is_dir()


def test_what_is_applied_is_there_after_a_restart(store: FileStore, tmp_path: Path) -> None:
    before = store.apply(rules("reviews", "ratings"))
    assert (tmp_path / "rules/DestinationRule/default/reviews.yaml").read_text() == rules("reviews")[0].text
    again = reopened(store, tmp_path)
    assert dict(again.world.resources) == dict(before.resources)
    again.close()


def test_a_change_is_one_generation_and_no_change_is_none(store: FileStore) -> None:
    world = store.apply(rules("reviews", "ratings"))
    assert world.generation == 2
    assert store.apply(rules("reviews")) is world
    assert store.apply(rules("reviews", version="v2")).generation == 3


def test_a_rule_keeps_its_age_when_it_changes(store: FileStore, tmp_path: Path) -> None:
    clock = store._clock
    assert isinstance(clock, FixedClock)
    store.apply(rules("reviews"))
    clock.time += 100
    world = store.apply((*rules("reviews", version="v2"), *rules("ratings")))
    ages = {key.name: resource.created_at for key, resource in world.resources.items()}
    assert ages == {"reviews": 1_700_000_000.0, "ratings": 1_700_000_100.0}
    again = reopened(store, tmp_path)
    assert {key.name: r.created_at for key, r in again.world.resources.items()} == ages
    again.close()


def test_findings_about_stored_rules_name_the_stored_file(store: FileStore) -> None:
    (resource,) = parsed("\n\n" + rule("DestinationRule", "reviews", "host: reviews")).resources
    stored = store.apply([resource]).resources[resource.key]
    assert str(stored.violation(("spec", "host"), "m")) == (
        "rules/DestinationRule/default/reviews.yaml:6: DestinationRule/reviews: spec.host: m"
    )


def test_deleting_removes_the_file_and_a_missing_rule_is_no_error(store: FileStore, tmp_path: Path) -> None:
    store.apply(rules("reviews", "ratings"))
    world = store.delete([Key("DestinationRule", "default", "reviews"), Key("Gateway", "default", "none")])
    assert [key.name for key in world.resources] == ["ratings"]
    assert not (tmp_path / "rules/DestinationRule/default/reviews.yaml").exists()
    assert store.delete([Key("Gateway", "default", "none")]) is world


def reviews(state: Path) -> Path:
    return state / "rules/DestinationRule/default/reviews.yaml"


def record(state: Path) -> Path:
    return state / "workloads/default/reviews-v1.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda p: reviews(p).write_text("a: ["), "is not YAML", id="a broken rule"),
        pytest.param(lambda p: reviews(p).write_text(""), "is empty", id="an emptied rule"),
        pytest.param(lambda p: (p / "rules").rename(p / "gone"), "rules is missing", id="missing rules"),
        pytest.param(lambda p: (p / "workloads").rename(p / "gone"), "workloads is missing", id="missing workloads"),
        pytest.param(lambda p: (p / "store.json").write_text("{}"), "damaged", id="another format"),
        pytest.param(lambda p: record(p).write_text("{}"), "no workload's record", id="a broken workload"),
        pytest.param(
            lambda p: record(p).rename(record(p).with_name("x.json")),
            "misplaced", id="a misplaced workload",
        ),
        pytest.param(
            lambda p: reviews(p).rename(reviews(p).with_name("x.yaml")),
            "its place is that of", id="a misplaced rule",
        ),
        pytest.param(lambda p: (p / "rules/notes.txt").write_text("x"), "not where a rule belongs", id="a stray file"),
    ],
)  # fmt: skip
def test_a_damaged_store_is_never_taken_for_an_empty_one(
    store: FileStore, tmp_path: Path, damage: object, message: str
) -> None:
    store.apply(rules("reviews"))
    store.register(WORKLOADS[2])
    store.close()
    assert callable(damage)
    damage(tmp_path)
    again = FileStore(tmp_path)
    with pytest.raises(StoreCorrupt, match=message):
        again.open()
    assert not again.world.resources  # and its caller has the exception, not this World


def test_a_store_is_one_control_plane_s(store: FileStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in use by another control plane"):
        FileStore(tmp_path).open()


def test_an_unreadable_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot use .*state as store"):
        FileStore(tmp_path / "state").open()


class FailingDisk:
    """Fails the nth call of a kind that the journal makes, as a full disk would."""

    def __init__(self, name: str) -> None:
        self.left: int | None = None
        self.real = getattr(KERNEL, name)
        self.calls = replace(KERNEL, **{name: self})

    def __call__(self, *args: object) -> object:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        return self.real(*args)


@pytest.mark.parametrize(("call", "nth"), [(c, n) for c in ("fsync", "rename", "utime", "mkdir") for n in range(1, 8)])
def test_a_full_disk_changes_nothing_or_everything(tmp_path: Path, call: str, nth: int) -> None:
    disk = FailingDisk(call)
    store = FileStore(tmp_path, disk=disk.calls)
    store.open()
    before = store.apply(rules("reviews", "ratings"))
    disk.left = nth
    complaint = "nothing was applied: No space left on device, or it was not needed"
    try:
        after = store.change(rules("reviews", "details", version="v2"), [Key("DestinationRule", "default", "ratings")])
    except NothingApplied as error:
        complaint, after = str(error), before
    disk.left = None
    assert "nothing was applied: No space left on device" in complaint
    assert store.world is after
    again = reopened(store, tmp_path)
    assert dict(again.world.resources) == dict(after.resources)
    again.apply(rules("productpage"))
    again.close()


CRASHER = """
import os, sys, signal
from pathlib import Path
from control.stores import FileStore
from control.stores.journal import Disk
from tests.control.stores.test_files import rules
from control.api import Key
left = None
def dying(real):
    def call(*args, **kwargs):
        global left
        if left is not None:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
disk = Disk(*(dying(getattr(os, name)) for name in ("mkdir", "utime", "fsync", "rename")))
for name in ("replace", "unlink", "rmdir"):
    setattr(os, name, dying(getattr(os, name)))
store = FileStore(Path(sys.argv[1]), disk=disk)
store.open()
left = int(sys.argv[2])
store.change(rules("reviews", "details", "productpage", version="v2"), [Key("DestinationRule", "default", "ratings")])
print("done")
"""


def test_a_killed_process_leaves_all_or_nothing(store: FileStore, tmp_path: Path) -> None:
    before = dict(store.apply(rules("reviews", "ratings")).resources)
    after = {r.key: r for r in rules("reviews", "details", "productpage", version="v2")}
    store.close()
    outcomes = []
    for step in range(1, 60, 3):
        process = subprocess.run(
            [sys.executable, "-c", CRASHER, str(tmp_path), str(step)], capture_output=True, text=True, cwd=os.getcwd()
        )
        again = FileStore(tmp_path)
        found = dict(again.open().resources)
        assert found in (before, after), f"killed at step {step}"
        outcomes.append(found == after)
        again.change(before.values(), [key for key in found if key not in before])
        again.close()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)


def test_workloads_are_remembered_and_forgotten(store: FileStore, tmp_path: Path) -> None:
    world = store.register(workload("reviews-v1", "reviews", "v1", 9003))
    assert store.register(workload("reviews-v1", "reviews", "v1", 9003)) is world
    store.register(workload("reviews-v1", "reviews", "v1", 9999))
    store.register(workload("reviews-v2", "reviews", "v2", 9004))
    assert store.world.services["default", "reviews"].ports[0].number == 9080
    again = reopened(store, tmp_path)
    assert {w.ports[0].app for w in again.world.workloads.values()} == {"127.0.0.1:9999", "127.0.0.1:9004"}
    again.unregister(("default", "reviews-v1"))
    again.unregister(("default", "reviews-v2"))
    assert not again.world.services
    last = reopened(again, tmp_path)
    assert not last.world.workloads
    last.close()


def test_records_of_workloads_are_their_owner_s_alone(store: FileStore, tmp_path: Path) -> None:
    store.register(WORKLOADS[0])
    path = tmp_path / "workloads/default/productpage-v1.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Workload.model_validate_json(path.read_bytes()) == WORKLOADS[0]


def seeded(store: FileStore) -> Path:
    for each in WORKLOADS:
        store.register(each)
    store.apply(rules("reviews"))
    return store._rules / "DestinationRule/default/reviews.yaml"


def test_an_edit_by_hand_is_taken_over(store: FileStore) -> None:
    path = seeded(store)
    path.write_text(path.read_text().replace("version: v1", "version: v9"))
    generation = store.world.generation
    event = store.reload()
    assert event is not None
    assert event.world is store.world
    assert store.world.generation == generation + 1
    assert store.reload() is None


def test_a_broken_edit_is_reported_and_the_last_good_world_goes_on(store: FileStore) -> None:
    path = seeded(store)
    good = store.world
    other = path.with_name("ratings.yaml")
    other.write_text(rule("DestinationRule", "ratings", "host: ratings"))
    path.write_text(path.read_text().replace("subsets", "subset"))
    event = store.reload()
    assert event is not None
    assert event.world is None
    assert "rules/DestinationRule/default/reviews.yaml:7" in str(event.violations[0])
    assert store.world is good
    path.write_text(rules("reviews")[0].text)
    repaired = store.reload()
    assert repaired is not None
    assert repaired.world is not None
    assert Key("DestinationRule", "default", "ratings") in repaired.world.resources


def test_an_edit_that_contradicts_another_rule_is_reported(store: FileStore) -> None:
    path = seeded(store)
    good = store.world
    path.write_text(path.read_text().replace("host: reviews", "host: reviewz"))
    event = store.reload()
    assert event is not None
    assert event.world is None
    assert "did you mean reviews?" in str(event.violations[0])
    assert store.world is good


def test_rules_that_disappear_altogether_are_not_an_empty_mesh(store: FileStore, tmp_path: Path) -> None:
    seeded(store)
    good = store.world
    (tmp_path / "rules").rename(tmp_path / "elsewhere")
    event = store.reload()
    assert event is not None
    assert event.world is None
    assert store.world is good


Eventually = Callable[..., Awaitable[None]]


async def test_edits_are_noticed_without_being_asked_for(store: FileStore, eventually: Eventually) -> None:
    path = seeded(store)
    stop = asyncio.Event()
    events: list[WatchEvent] = []
    edits = count()

    async def follow() -> None:
        async for event in store.watch(stop):
            events.append(event)  # noqa: PERF401  as they come, not at the end

    def edited(text: str, expected: int) -> bool:
        path.write_text(f"{text}# {next(edits)}\n")  # again and again: the kernel's watch may not be in place yet
        return len(events) >= expected

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await eventually(lambda: edited("a: [", 1), "a broken edit is noticed")
        await eventually(lambda: edited(rules("reviews", version="v3")[0].text, 2), "a good one is")
        stop.set()
    assert [event.world is not None for event in events] == [False, True]
    assert Key("DestinationRule", "default", "reviews") in store.world.resources


async def test_one_s_own_changes_are_no_edits(store: FileStore, eventually: Eventually) -> None:
    path = seeded(store)
    stop = asyncio.Event()
    events: list[WatchEvent] = []

    async def follow() -> None:
        async for event in store.watch(stop):
            events.append(event)  # noqa: PERF401  as they come, not at the end

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        for version in ("v4", "v5", "v6"):
            await asyncio.to_thread(store.apply, rules("reviews", "ratings", version=version))

        def broken() -> bool:
            path.write_text("a: [")
            os.utime(path)
            return bool(events)

        await eventually(broken, "an edit that is none of ours is noticed")
        stop.set()
    assert [event.world for event in events] == [None]


def test_a_change_of_many_files_is_stored_whole_and_read_again(store: FileStore, tmp_path: Path) -> None:
    names = [f"service-{number}" for number in range(MANY_FILES + 1)]
    store.apply(rules(*names))
    again = reopened(store, tmp_path)
    assert sorted(key.name for key in again.world.resources) == sorted(names)
    assert not (tmp_path / "journal").exists()
    again.close()
