"""Logs do not fill the disk."""

from pathlib import Path

from remora.up import logs


def test_a_log_that_is_too_long_begins_anew_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "control.log"
    with open(path, "ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        logs.bound(tmp_path, max_bytes=99)
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    assert (tmp_path / "control.log.1").read_bytes() == b"x" * 100


def test_a_short_log_stays(tmp_path: Path) -> None:
    (tmp_path / "control.log").write_bytes(b"x" * 99)
    logs.bound(tmp_path, max_bytes=99)
    assert [path.name for path in tmp_path.iterdir()] == ["control.log"]
