"""The trust anchors' file, replaced as Kubernetes does it."""

import os
from pathlib import Path

import pytest

from sidecar.agent.certificates import UnusableCertificate
from sidecar.agent.root_file import RootFile
from tests.sidecar.net.authority import Authority


class Volume:
    """`root.pem -> ..data/root.pem`, `..data -> ..N`; put in place by renaming a link."""

    def __init__(self, directory: Path, text: str) -> None:
        self._directory = directory
        self._count = 0
        self.put(text)
        self.path.symlink_to("..data/root.pem")

    @property
    def path(self) -> Path:
        return self._directory / "root.pem"

    def put(self, text: str) -> None:
        self._count += 1
        name = f"..{self._count}"
        (self._directory / name).mkdir()
        (self._directory / name / "root.pem").write_text(text)
        os.symlink(name, self._directory / "..data_tmp")
        os.rename(self._directory / "..data_tmp", self._directory / "..data")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path, Authority().pem)


def test_new_anchors_are_seen_once_when_the_link_is_swapped(volume: Volume) -> None:
    file = RootFile(volume.path)
    first = file.read()
    assert file.news() is None
    second = Authority().pem
    volume.put(first + second)
    assert file.news() == first + second
    assert file.news() is None


def test_what_is_no_certificate_is_told_once_and_changes_nothing(
    volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    file = RootFile(volume.path)
    file.read()
    volume.put("nonsense")
    assert file.news() is None
    assert file.news() is None
    assert len(caplog.records) == 1
    good = Authority().pem
    volume.put(good)
    assert file.news() == good


def test_a_file_that_is_gone_for_a_moment_is_no_news(volume: Volume, caplog: pytest.LogCaptureFixture) -> None:
    file = RootFile(volume.path)
    file.read()
    volume.path.unlink()
    assert file.news() is None
    assert not caplog.records


def test_the_first_reading_says_what_is_wrong(volume: Volume) -> None:
    volume.put("nonsense")
    with pytest.raises(UnusableCertificate, match=r"root\.pem"):
        RootFile(volume.path).read()
