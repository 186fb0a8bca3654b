"""The parts of a delivery that decide or keep one small thing."""

import json
import random
from pathlib import Path

import pytest

from collectors.delivery.backoff import MAX_ASKED_S, Backoff
from collectors.delivery.dead_letters import FILES, NAME, DeadLetters
from collectors.delivery.position import Position, PositionFile
from collectors.exporters.sink import Refusal
from tests.collectors.build import NOW, log


def test_waiting_doubles_up_to_the_most_with_chance_in_it() -> None:
    waits = [
        [backoff.failed() for _ in range(12)] for backoff in (Backoff(1, 60, random.Random(n)) for n in range(200))
    ]
    for attempt in range(12):
        ceiling = min(60.0, 2.0 ** (attempt + 1))
        found = sorted(row[attempt] for row in waits)
        assert found[0] >= 1
        assert found[-1] <= ceiling
        assert found[-1] - found[0] > 0.8 * (ceiling - 1), "all of the range is used"


def test_what_the_back_end_asks_for_is_the_least_but_bounded() -> None:
    backoff = Backoff(0.1, 1, random.Random(1))
    assert backoff.failed(45) == 45
    assert backoff.failed(1e9) == MAX_ASKED_S
    assert backoff.failed(0) <= 1


def test_success_begins_anew() -> None:
    backoff = Backoff(1, 1000, random.Random(1))
    for _ in range(20):
        backoff.failed()
    backoff.succeeded()
    assert backoff.failures == 0
    assert backoff.failed() <= 2


def test_a_position_is_what_was_written_last(tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "position")
    assert file.read() is None
    for offset in range(5):
        file.write(Position(7, offset))
    file.sync()
    file.close()
    again = PositionFile(tmp_path / "position")
    assert again.read() == Position(7, 4)
    again.write(Position(8, 0))
    again.close()
    third = PositionFile(tmp_path / "position")
    assert third.read() == Position(8, 0)
    third.close()


@pytest.mark.parametrize("cut", range(0, 128, 7))
def test_a_position_half_written_is_the_one_before(tmp_path: Path, cut: int) -> None:
    """Whatever part of the newer slot is on disk."""
    path = tmp_path / "position"
    file = PositionFile(path)
    file.write(Position(1, 1))
    before = path.read_bytes().ljust(128, b"\0")
    file.write(Position(2, 2))
    after = path.read_bytes()
    file.close()
    path.write_bytes(after[:cut] + before[cut:])
    again = PositionFile(path)
    assert again.read() in (Position(1, 1), Position(2, 2))
    again.close()


def refusal(number: int, pad: int = 0) -> Refusal:
    return Refusal(log(str(number), "x" * pad), f"why {number}")


def read(directory: Path) -> list[dict[str, object]]:
    files = [directory / NAME, *(directory / f"{NAME}.{number}" for number in range(1, FILES))]
    return [json.loads(line) for path in reversed(files) if path.exists() for line in path.read_text().splitlines()]


def test_dead_letters_are_rotated_within_their_bytes_and_what_is_lost_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    letters = DeadLetters(tmp_path, "out", 40_000)
    for number in range(100):
        letters.write([refusal(number, pad=1_000)], NOW)
    kept = read(tmp_path)
    assert [letter["reason"] for letter in kept] == [f"why {number}" for number in range(100 - len(kept), 100)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 40_000
    assert letters.dropped_files > 0
    assert "oldest dead letters were removed" in caplog.text


def test_a_dead_letter_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, "out", 1 << 20)
    nasty = log("a\nb", "\x1b[31m\u2028\udcff\x00", big=2**80, odd=object())
    letters.write([Refusal(nasty, "reason\n" + "y" * 2_000)], NOW)
    (line,) = (tmp_path / NAME).read_bytes().splitlines()
    assert line.isascii()
    assert b"\x1b" not in line
    found = json.loads(line)
    assert found["record"]["id"] == "a\nb"
    assert len(found["reason"]) == 500
