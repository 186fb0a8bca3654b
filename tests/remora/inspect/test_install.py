"""The environment that mitmproxy lives in. pip is real; what it installs is a package of the test's: no network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.inspection import Inspection
from remora.failure import Failure
from remora.inspect.install import install
from tests.remora.conftest import Remora

_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "mitmproxy"
version = "11.0.2"
"""

_BACKEND = """
import zipfile
NAME = "mitmproxy-11.0.2-py3-none-any.whl"
FILES = {
    "mitmproxy/__init__.py": "",
    "mitmproxy/http.py": "",
    "mitmproxy/version.py": "VERSION = '11.0.2'",
    "mitmproxy-11.0.2.dist-info/METADATA": "Metadata-Version: 2.1\\nName: mitmproxy\\nVersion: 11.0.2\\n",
    "mitmproxy-11.0.2.dist-info/WHEEL":
        "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "mitmproxy-11.0.2.dist-info/RECORD": "",
}
def build_wheel(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(directory + "/" + NAME, "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return NAME
"""


@pytest.fixture
def package(tmp_path: Path) -> str:
    """A requirement that needs no network."""
    source = tmp_path / "package"
    source.mkdir()
    (source / "pyproject.toml").write_text(_PROJECT)
    (source / "backend.py").write_text(_BACKEND)
    return f"mitmproxy @ {source.as_uri()}"


def test_it_is_made_once_and_made_again_for_another_requirement(package: str, tmp_path: Path) -> None:
    inspection = Inspection(tmp_path / "data" / "inspect")
    said: list[str] = []
    assert install(inspection, said.append, requirement=package)
    assert inspection.installed() == {
        "requirement": package,
        "mitmproxy": "11.0.2",
        "python": sys.version.split()[0],
    }
    assert said[0].startswith("making an environment of Python 3.")
    assert f"installing {package}" in said

    said.clear()
    assert not install(inspection, said.append, requirement=package)
    assert said == []

    # Half an environment, as after a power cut.
    inspection.marker.unlink()
    assert inspection.installed() is None
    assert install(inspection, said.append, requirement=package)


def test_what_pip_says_of_a_failure_is_shown(tmp_path: Path) -> None:
    inspection = Inspection(tmp_path / "inspect")
    with pytest.raises(Failure) as caught:
        install(inspection, lambda line: None, requirement=f"mitmproxy @ {(tmp_path / 'nothing').as_uri()}")
    assert caught.value.lines[0].startswith("`-m pip --disable-pip-version-check` failed with status 1")
    assert any("nothing" in line for line in caught.value.lines[1:])
    assert inspection.installed() is None


def test_a_directory_of_something_else_is_left_alone(package: str, tmp_path: Path) -> None:
    directory = tmp_path / "inspect"
    directory.mkdir()
    (directory / "thesis.txt").write_text("precious")
    with pytest.raises(Failure, match="has something else in it"):
        install(Inspection(directory), lambda line: None, requirement=package)
    assert (directory / "thesis.txt").read_text() == "precious"


def test_a_place_that_can_not_be_written_is_one_line(package: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot make"):
        install(Inspection(tmp_path / "file" / "inspect"), lambda line: None, requirement=package)


def test_two_at_once_make_one(package: str, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mesh.inspection import Inspection; "
        "from remora.inspect.install import install; "
        "print(install(Inspection(Path(sys.argv[1])), lambda line: None, requirement=sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "inspect"), package]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=100)[0] for process in processes) == ["False\n", "True\n"]


def test_status_says_what_there_is(remora: Remora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMORA_INSPECT", str(tmp_path / "inspect"))
    result = remora("inspect", "status")
    assert (result.status, result.out) == (
        1,
        "mitmproxy is not installed: run `remora inspect install` (once, about 130 MB)\n",
    )
    assert remora("inspect", "status", "-o", "json").json() == {
        "directory": str(tmp_path / "inspect"),
        "installed": False,
    }
    (tmp_path / "inspect/bin").mkdir(parents=True)
    (tmp_path / "inspect/bin/python").symlink_to(sys.executable)
    (tmp_path / "inspect/remora.json").write_text(json.dumps({"mitmproxy": "11.0.2", "python": "3.11.7"}))
    result = remora("inspect", "status")
    assert result.status == 0
    assert result.out.splitlines()[1].split()[:2] == ["11.0.2", "3.11.7"]


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"REMORA_INSPECT": "/a", "XDG_DATA_HOME": "/b"}, "/a"),
        ({"XDG_DATA_HOME": "/b", "HOME": "/c"}, "/b/remora/inspect"),
        ({"HOME": "/c"}, "/c/.local/share/remora/inspect"),
    ],
)
def test_where_it_is(environ: dict[str, str], place: str) -> None:
    assert Inspection.of_user(environ).directory == Path(place)
