"""A pod's network is told from a machine's own."""

from pathlib import Path

import pytest

from remora.init.place import is_the_machines_own


def processes(at: Path, first: str, *, same: bool) -> Path:
    """A /proc with a first process of that name."""
    for name, number in (("1", 7), ("thread-self", 7 if same else 8)):
        (at / name / "ns").mkdir(parents=True)
        (at / name / "ns" / "net").symlink_to(f"net:[{number}]")
    (at / "1" / "comm").write_text(f"{first}\n")
    return at


@pytest.mark.parametrize(
    ("first", "same", "machines"),
    [
        ("systemd", True, True),
        ("init", True, True),
        ("systemd", False, False),
        ("pause", True, False),
        ("remora", True, False),
    ],
    ids=["a machine", "a small machine", "a namespace on a machine", "a pod that shares processes", "a container"],
)
def test_a_machine_is_known_by_its_first_process(tmp_path: Path, first: str, same: bool, machines: bool) -> None:
    assert is_the_machines_own(processes(tmp_path, first, same=same)) is machines


def test_what_cannot_be_seen_is_taken_for_a_pod(tmp_path: Path) -> None:
    assert is_the_machines_own(tmp_path / "nothing") is False
