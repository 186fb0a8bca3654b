"""The injector's settings from a file: what is wrong has file, line and field."""

from pathlib import Path

import pytest

from control.injector.settings import InjectorSettings
from control.webhooks.settings import UnusableSettings, read_settings
from remora.install.objects import objects
from remora.install.values import Values


def test_no_file_and_an_empty_one_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing yet\n")
    assert read_settings(None) == read_settings(tmp_path / "empty") == InjectorSettings()


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("image: registry.example.com/remora:7\ncni: true\n")
    read = read_settings(tmp_path / "a")
    assert (read.image, read.cni) == ("registry.example.com/remora:7", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image: [a]\n", "a:1: image: "),
        ("cni: true\nimage: a b\n", "a:2: image: is 'a b'; write an image"),
        ("sidecarImage: a\n", "a:1: sidecarImage: "),
        ("a: {\n", "a:"),
        ("- a\n", "a:1"),
        ("cni: true\n---\ncni: false\n", "has 2 documents"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(UnusableSettings) as caught:
        read_settings(tmp_path / "a")
    assert said in str(caught.value)


def test_the_installations_own_file_is_one(tmp_path: Path) -> None:
    (config,) = (
        each
        for each in objects(Values())
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "remora-settings"
    )
    (text,) = config["data"].values()
    (tmp_path / "a").write_text(text)
    assert read_settings(tmp_path / "a").control_address == "remora-control.remora-system.svc:15012"
