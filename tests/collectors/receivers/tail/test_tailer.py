"""Files that grow, rotate, vanish, and come back: every line once, by its id, whatever happens in between."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectors.receivers.tail.files import FileLimits
from collectors.receivers.tail.positions import PositionFile
from collectors.receivers.tail.tailer import ReadLimits
from tests.collectors.receivers.tail.rig import OPEN, Rig

Rotate = Callable[[Path, int], None]


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().files.close()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir()
    return directory


def append(path: Path, *lines: str, end: str = "\n") -> None:
    with open(path, "a") as file:
        file.write("".join(line + "\n" for line in lines[:-1]) + lines[-1] + end)


def by_rename(path: Path, number: int) -> None:
    path.rename(path.with_name(f"{path.name}.{number}"))


def by_copy(path: Path, number: int) -> None:
    shutil.copy(path, path.with_name(f"{path.name}.{number}"))
    os.truncate(path, 0)


def by_copy_to_a_name_that_is_read_too(path: Path, number: int) -> None:
    shutil.copy(path, path.with_name(f"app-2026-01-0{number}.log"))
    os.truncate(path, 0)


def by_rename_to_a_name_that_is_read_too(path: Path, number: int) -> None:
    path.rename(path.with_name(f"app-2026-01-0{number}.log"))


ways = pytest.mark.parametrize(
    "rotate", [by_rename, by_copy, by_rename_to_a_name_that_is_read_too, by_copy_to_a_name_that_is_read_too]
)


def test_lines_are_read_as_they_come_and_a_line_without_its_end_waits(logs: Path) -> None:
    rig = Rig(logs)
    assert rig.turn() == []
    append(logs / "app.log", "a", "b", "c", end="")
    assert rig.turn() == ["a", "b"]
    append(logs / "app.log", "c")
    assert rig.turn() == ["cc"]
    assert rig.doubles == 0


@ways
def test_no_line_is_lost_or_doubled_by_rotation(logs: Path, rotate: Rotate) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    lines = [f"{number} {'x' * 100}" for number in range(100)]
    for number in range(5):
        append(path, *lines[number * 20 : number * 20 + 10])
        rig.turn()
        append(path, *lines[number * 20 + 10 : number * 20 + 20])  # not seen before it is rotated
        rotate(path, number + 1)
        if number % 2:
            rig.turn()
    rig.turn()
    rig.turn(60)
    rig.turn(60)
    assert sorted(rig.texts) == sorted(lines)
    assert rig.doubles == 0


@pytest.mark.parametrize("rotate", [by_rename, by_copy])
def test_a_content_that_nobody_saw_before_it_was_rotated_is_read(logs: Path, rotate: Rotate) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    append(path, "a")
    rig.turn()
    rotate(path, 2)
    stamp(logs / "app.log.2", 1)
    append(path, "b")
    rotate(path, 1)
    stamp(logs / "app.log.1", 2)
    append(path, "c")
    append(logs / "app.log.errors", "another log")
    rig.turn()
    rig.turn(60)
    assert sorted(rig.texts) == ["a", "b", "c"]


@pytest.mark.parametrize("rotate", [by_rename, by_copy])
def test_a_content_of_which_nothing_was_read_before_it_was_rotated_is_read(logs: Path, rotate: Rotate) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    append(path, "a")
    rig.turn()
    rotate(path, 2)
    stamp(logs / "app.log.2", 1)
    path.touch()
    rig.turn()  # it is known that there is another content, and nothing of it
    append(path, "b")
    rotate(path, 1)
    stamp(logs / "app.log.1", 2)
    append(path, "c")
    rig.turn()
    rig.turn(60)
    assert sorted(rig.texts) == ["a", "b", "c"]
    assert rig.doubles == 0


@ways
def test_rotation_while_nobody_looked_loses_nothing(logs: Path, rotate: Rotate) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    lines = [f"{number} {'x' * 100}" for number in range(60)]
    append(path, *lines[:20])
    rig.turn()
    rig.crash()
    append(path, *lines[20:40])
    rotate(path, 1)
    append(path, *lines[40:])
    rig.restart()
    rig.turn()
    rig.turn(60)
    assert sorted(rig.texts) == sorted(lines)
    assert rig.doubles == 0


@pytest.mark.parametrize("rotate", [by_rename, by_copy])
def test_two_rotations_while_nobody_looked_lose_nothing(logs: Path, rotate: Rotate) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    lines = [f"{number} {'x' * 100}" for number in range(80)]
    append(path, *lines[:20])
    rig.turn()
    rig.crash()
    append(path, *lines[20:40])
    rotate(path, 2)
    stamp(logs / "app.log.2", 1)
    append(path, *lines[40:60])
    rotate(path, 1)
    stamp(logs / "app.log.1", 2)
    append(path, *lines[60:])
    rig.restart()
    rig.turn()
    rig.turn(60)
    assert sorted(rig.texts) == sorted(lines)
    assert rig.doubles == 0


@pytest.mark.parametrize("rotate", [by_rename, by_copy])
@pytest.mark.parametrize("banner", ["", "banner"], ids=["first lines of their own", "the same first line"])
def test_after_a_crash_and_two_rotations_what_comes_again_has_the_same_ids(
    logs: Path, rotate: Rotate, banner: str
) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    lines = []
    for number in range(3):
        more = [banner or f"first of {number}", *[f"{number} {line} {'x' * 50}" for line in range(40)]]
        append(path, *more[:20])
        rig.turn(save=number == 0)
        append(path, *more[20:])
        rig.turn(save=False)
        lines += more
        if number < 2:
            rotate(path, 2 - number)
            stamp(logs / f"app.log.{2 - number}", number + 1)
    stamp(path, 3)
    assert sorted(rig.texts) == sorted(lines)
    rig.crash()
    rig.restart()
    rig.turn()
    rig.turn(60)
    assert sorted(rig.texts) == sorted(lines)
    assert rig.doubles >= 80


def stamp(path: Path, seconds: int) -> None:
    """As if it had been written to so much later."""
    at = path.stat().st_mtime_ns + seconds * 1_000_000_000
    os.utime(path, ns=(at, at))


def test_what_was_stored_and_not_saved_comes_again_with_the_same_ids(logs: Path) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "a", "b")
    rig.turn()
    append(logs / "app.log", "c", "d")
    assert rig.turn(save=False) == ["c", "d"]
    rig.crash()
    append(logs / "app.log", "e")
    rig.restart()
    assert rig.turn() == ["c", "d", "e"]
    assert rig.doubles == 2
    assert rig.texts == ["a", "b", "c", "d", "e"]


def test_a_file_without_a_position_comes_again_with_the_same_ids(logs: Path) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "a", "b")
    rig.turn()
    rig.crash()
    (rig.state / "positions.json").unlink()
    rig.restart()
    assert rig.turn() == ["a", "b"]
    assert rig.texts == ["a", "b"]


def test_a_file_emptied_by_its_writer_is_read_from_its_start(logs: Path) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "banner", "a", "b")
    rig.turn()
    os.truncate(logs / "app.log", 0)
    append(logs / "app.log", "banner", "c")
    assert rig.turn() == ["banner", "c"]
    assert rig.doubles == 0, "the same first line of another content is another record"
    assert rig.files.counts["truncated"] == 1


def test_a_truncated_file_that_has_grown_beyond_where_we_were_is_noticed_by_its_first_bytes(logs: Path) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "one", "two")
    rig.turn()
    os.truncate(logs / "app.log", 0)
    append(logs / "app.log", "three", "four", "five", "six")
    assert rig.turn() == ["three", "four", "five", "six"]


def test_a_deleted_file_is_read_to_its_end_and_what_takes_its_inode_is_another(logs: Path) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    append(path, "banner", "a")
    rig.turn()
    with open(path, "a") as file:
        path.unlink()
        file.write("last words")
        file.flush()
        assert rig.turn() == []
        assert rig.turn(4) == []
        assert rig.turn(2) == ["last words"]
    assert rig.files.counts["deleted"] == 1
    assert rig.files.all == []
    append(path, "banner", "b")  # often by the same inode
    assert rig.turn() == ["banner", "b"]
    assert rig.doubles == 0


def test_writers_that_write_on_after_the_rename_are_heard(logs: Path) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    append(path, "a")
    rig.turn()
    with open(path, "a") as file:
        path.rename(logs / "app.log.1")
        append(path, "new")
        assert rig.turn() == ["new"]
        file.write("b\n")
        file.flush()
        assert rig.turn(4) == ["b"]
        file.write("c\n")
        file.flush()
        assert rig.turn(4) == ["c"]
    rig.turn(6)
    assert [one.path for one in rig.files.all] == [path]


def test_compressed_files_and_copies_of_old_times_are_left_alone(logs: Path) -> None:
    (logs / "app.log.2.gz").write_bytes(b"x\n")
    append(logs / "app.log.1", "old")
    append(logs / "app.log", "a")
    rig = Rig(logs, "*.log*")
    assert rig.turn() == ["a"]


def test_links_are_followed_to_where_they_point_now(logs: Path, tmp_path: Path) -> None:
    pods = tmp_path / "pods"
    pods.mkdir()
    append(pods / "0.log", "a")
    (logs / "c.log").symlink_to(pods / "0.log")
    rig = Rig(logs)
    assert rig.turn() == ["a"]
    by_rename(pods / "0.log", 1)  # as the kubelet does
    append(pods / "0.log", "b")
    assert rig.turn() == ["b"]
    append(pods / "1.log", "c")
    (logs / "c.log").unlink()
    (logs / "c.log").symlink_to(pods / "1.log")
    assert rig.turn() == ["c"]
    assert rig.doubles == 0


def test_a_long_line_is_cut_and_counted_and_the_next_is_whole(logs: Path) -> None:
    rig = Rig(logs, files=FileLimits(max_line_bytes=1_000), limits=ReadLimits(read_bytes=512, turn_bytes=2_048))
    append(logs / "app.log", "a", "x" * 10_000, "y" * 1_001, "b", "z" * 5_000, end="")
    got = rig.turn()
    assert got == ["a", "x" * 1_000 + "…[cut]", "y" * 1_000 + "…[cut]", "b", "z" * 1_000 + "…[cut]"]
    rig.crash()  # within the last one
    append(logs / "app.log", "zzz", "c")
    rig.restart()
    assert rig.turn() == ["c"]


def test_a_flood_in_one_file_does_not_keep_the_others_waiting(logs: Path) -> None:
    rig = Rig(logs, limits=ReadLimits(read_bytes=4_096, turn_bytes=16_384))
    append(logs / "flood.log", *["x" * 99] * 10_000)
    for number in range(20):
        append(logs / f"quiet{number}.log", "quiet")
    rig.files.scan(0)
    texts = []
    for _ in range(8):
        chunks = rig.tailer.gather(0)
        texts += [record.text for chunk in chunks for record in chunk.records]
        rig.tailer.commit(chunks)
    assert texts.count("quiet") == 20
    assert len(texts) < 2_000


def test_a_longer_name_is_a_rotated_one_only_if_it_looks_so(logs: Path) -> None:
    for name in ("mail", "mail.1", "mail-20260131", "mail.old", "mail~", "mail.err", "mail-backend", "mail.err.1"):
        append(logs / name, name)
    rig = Rig(logs, "mail*")
    rig.turn()
    assert sorted(rig.texts) == ["mail", "mail-backend", "mail.err"]


def test_more_files_than_may_be_open_wait_for_their_turn(logs: Path) -> None:
    for number in range(5):
        append(logs / f"{number}.log", f"of {number}")
    rig = Rig(logs, files=FileLimits(max_files=3))
    rig.turn()
    assert (len(rig.files.all), rig.files.waiting) == (3, 2)
    for one in list(rig.files.current):
        one.unlink()
    rig.turn()
    rig.turn(60)
    rig.turn()
    assert sorted(rig.texts) == [f"of {number}" for number in range(5)]


def test_from_the_end_only_at_the_very_first_start(logs: Path) -> None:
    append(logs / "old.log", "a", "half", end="")
    rig = Rig(logs, from_end=True)
    append(logs / "old.log", " line", "b")
    append(logs / "new.log", "c")
    assert sorted(rig.turn()) == ["b", "c"]
    rig.crash()
    append(logs / "newer.log", "d")
    rig.restart()
    assert rig.turn() == ["d"]


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_file_in_which_nothing_came_is_still_read_from_its_end_after_a_restart(logs: Path, end: str) -> None:
    append(logs / "quiet.log", "a", "b", end=end)
    append(logs / "half.log", "half a line", end="")
    append(logs / "empty.log", "", end="")
    rig = Rig(logs, from_end=True)
    append(logs / "busy.log", "c")
    assert rig.turn() == ["c"]
    for name in ("quiet.log", "half.log"):
        append(logs / name, "", "d " + name)
    append(logs / "empty.log", "e")
    rig.crash()
    rig.restart()
    assert sorted(text for text in rig.turn(save=False) if text) == ["d half.log", "d quiet.log", "e"]
    ids = list(rig.got)
    rig.crash()
    rig.restart()
    rig.turn()
    assert list(rig.got) == ids, "the same records have the same ids"


def test_what_came_after_a_broken_position_file_is_read_though_only_the_end_was_wanted_once(logs: Path) -> None:
    append(logs / "app.log", "a")
    rig = Rig(logs, from_end=True)
    rig.files.save()
    rig.crash()
    (rig.state / "positions.json").write_text("{")
    append(logs / "app.log", "b")
    rig.restart()
    assert rig.turn() == ["a", "b"]


def test_a_broken_position_file_is_moved_aside(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "a")
    rig.turn()
    rig.crash()
    path = rig.state / "positions.json"
    for broken in (b"{", b"[]", b'{"version": 9}', path.read_bytes().replace(b'"offset":2', b'"offset":"2"')):
        path.write_bytes(broken)
        assert PositionFile(path).load() == []
        assert path.with_name("positions.json.broken").read_bytes() == broken
        assert "read from their start" in caplog.text
        caplog.clear()
    rig.restart()
    assert rig.turn() == ["a"]


def test_a_file_that_is_gone_after_a_restart_is_told(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "a")
    rig.turn()
    rig.crash()
    (logs / "app.log").unlink()
    rig.restart()
    assert rig.files.counts["vanished"] == 1
    assert "is lost" in caplog.text


def test_positions_are_private_and_say_what_is_stored(logs: Path) -> None:
    rig = Rig(logs)
    append(logs / "app.log", "abc", "d", end="")
    rig.turn()
    path = rig.state / "positions.json"
    assert path.stat().st_mode & 0o777 == 0o600
    (entry,) = json.loads(path.read_text())["files"]
    assert (entry["path"], entry["offset"]) == (str(logs / "app.log"), 4)


def test_what_is_no_regular_file_is_not_opened(logs: Path) -> None:
    os.mkfifo(logs / "pipe.log")
    (logs / "directory.log").mkdir()
    (logs / "nowhere.log").symlink_to("nothing")
    rig = Rig(logs)
    assert rig.turn() == []
    assert rig.files.all == []


def test_one_unreadable_rotated_file_does_not_stop_the_others(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(logs)
    append(logs / "bad.log", "a")
    append(logs / "good.log", "b")
    rig.turn()
    follower = rig.files.current[logs / "bad.log"]
    by_rename(logs / "bad.log", 1)
    append(logs / "bad.log.1", "more")
    unreadable = os.open(logs / "bad.log.1", os.O_WRONLY)  # whose size can be seen and which cannot be read
    os.dup2(unreadable, follower.fd)
    os.close(unreadable)
    append(logs / "good.log", "c")
    assert rig.turn() == ["c"]
    assert rig.files.counts["unreadable"] >= 1
    assert follower in rig.files.ended
    append(logs / "good.log", "d")
    assert rig.turn(60) == ["d"]
    assert rig.files.ended == [], "it is not waited for for ever"
    assert "behind byte 2 is lost" in caplog.text


def test_what_was_read_before_a_truncation_is_kept_while_no_descriptor_is_free(logs: Path) -> None:
    rig = Rig(logs)
    path = logs / "app.log"
    append(path, "a", "b")
    rig.files.scan(rig.now)
    follower = rig.files.current[path]
    assert rig.tailer._read(follower, rig.now) == 4
    os.truncate(path, 0)
    append(path, "c")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(follower.fd)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        chunks = rig.tailer.gather(rig.now)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [record.text for chunk in chunks for record in chunk.records] == ["a", "b"]
    rig.tailer.commit(chunks)
    assert rig.turn() == ["c"]
