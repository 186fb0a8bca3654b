"""Outdated OTLP types are noticed before they lose data."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from remora import otlp_types
from remora.commands import components
from remora.failure import Failure


def _install(place: Path, recorded: bytes, found: bytes) -> None:
    path = "opentelemetry/proto/trace/v1/trace_pb2.py"
    (place / path).parent.mkdir(parents=True)
    (place / path).write_bytes(found)
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded).digest()).rstrip(b"=").decode()
    info = place / "opentelemetry_proto-1.2.3.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(f"other.py,,\n{path},sha256={digest},{len(recorded)}\n")


def test_files_as_they_were_installed_are_fine(tmp_path: Path) -> None:
    _install(tmp_path, b"new", b"new")
    assert not otlp_types.stale([str(tmp_path)])


def test_another_packages_files_are_noticed(tmp_path: Path) -> None:
    _install(tmp_path, b"new", b"old")
    assert otlp_types.stale(["/nowhere", str(tmp_path)])


def test_without_the_package_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert not otlp_types.stale([str(tmp_path)])


def test_this_environment_is_set_up_right() -> None:
    assert not otlp_types.stale(), f"repair: {otlp_types.REPAIR}"


def test_the_command_to_repair_has_pyprojects_bound() -> None:
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    bounds = set(re.findall(r'"(opentelemetry-proto[^"]*)"', pyproject))
    assert len(bounds) == 1
    assert f"pip install --force-reinstall --no-deps '{bounds.pop()}'" == otlp_types.REPAIR


@pytest.mark.parametrize("name", ["proxy", "collect"])
def test_a_component_that_needs_them_says_how_to_repair_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _install(tmp_path, b"new", b"old")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Failure, match="pip install --force-reinstall --no-deps 'opentelemetry-proto"):
        components.run(name, [])
