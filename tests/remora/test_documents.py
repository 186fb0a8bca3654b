"""Rule files are read as the user names them, within limits that are told."""

import contextlib
import io
import os
import threading
from pathlib import Path

import pytest

from control.api import source
from remora import documents
from remora.failure import Failure


def test_a_directory_gives_its_rules_in_order_and_skips_what_is_none(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.json", "notes.txt", ".hidden/d.yaml", ".e.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = documents.read([str(tmp_path)])
    assert [each.text for each in found] == ["a.yml", "b.yaml", "sub/c.json"]
    assert found[0].name == str(tmp_path / "a.yml")


def test_standard_input_is_called_dash() -> None:
    assert documents.read(["-"], io.BytesIO(b"kind: X")) == [documents.Document("-", "kind: X")]


def test_limits_are_the_control_planes() -> None:
    assert (documents.MAX_FILE_BYTES, documents.MAX_CALL_BYTES) == (source.MAX_FILE_BYTES, source.MAX_CALL_BYTES)


def test_a_file_of_50_mb_is_refused_in_one_line_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with open(path, "wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(Failure) as failure:
        documents.read([str(path)])
    assert failure.value.lines == (f"{path}:1: has 50,000,000 bytes; a file has at most 2,097,152: split it",)


def test_files_that_are_too_much_together_are_refused(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(Failure, match=r"4\.yaml:1: makes this call larger than 8,388,608 bytes"):
        documents.read([str(tmp_path)])


def test_what_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_bytes(b"kind: a\nname: \xff\n")
    with pytest.raises(Failure, match=r"rules\.yaml:2: not text: byte 0xff is no UTF-8"):
        documents.read([str(path)])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "cannot read it: No such file or directory"),
        (lambda path: path.mkdir(), "no .yaml, .yml, .json file in this directory"),
    ],
    ids=["a missing file", "an empty directory"],
)
def test_what_can_not_be_read_is_one_line(tmp_path: Path, make: object, expected: str) -> None:
    path = tmp_path / "rules"
    make(path)  # type: ignore[operator]
    with pytest.raises(Failure, match=expected):
        documents.read([str(path)])


def test_a_device_is_refused_without_being_read() -> None:
    with pytest.raises(Failure, match="/dev/zero: is neither a file nor a directory nor a pipe"):
        documents.read(["/dev/zero"])


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(Failure, match=r"pipe: nobody writes to this pipe; waited 0\.05 s"):
        documents.read([str(path)], pipe_s=0.05)


@pytest.mark.parametrize(("written", "fits"), [(b"kind: X\n", True), (b"#" * (documents.MAX_FILE_BYTES + 1), False)])
def test_a_pipe_is_read_to_its_end_and_no_further_than_a_file(tmp_path: Path, written: bytes, fits: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    done = threading.Event()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
            for start in range(0, len(written), 4096):
                pipe.write(written[start : start + 4096])
        done.set()

    threading.Thread(target=write, daemon=True).start()
    if fits:
        assert documents.read([str(path)])[0].text.encode() == written
    else:
        with pytest.raises(Failure, match="a file has at most"):
            documents.read([str(path)])
    assert done.wait(5)


def test_ten_thousand_files_are_read_and_one_more_is_refused(tmp_path: Path) -> None:
    for number in range(documents.MAX_FILES):
        (tmp_path / f"{number}.yaml").touch()
    assert len(documents.read([str(tmp_path)])) == documents.MAX_FILES
    (tmp_path / "z.yaml").touch()
    with pytest.raises(Failure, match="more rules than fit into one call: 10,000 files"):
        documents.read([str(tmp_path)])


def test_a_directory_that_is_no_directory_of_rules_is_given_up(tmp_path: Path) -> None:
    for number in range(21):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(Failure, match="more than 20 files below it"):
        documents.read([str(tmp_path)], max_visited=20)
