"""The image's description: small, non-root, without a compiler, and with every entry point that a manifest names.

It is not built here: that takes a container engine. The wheel in it is built by tests/packaging.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from remora.cli import COMPONENTS
from remora.install.names import PROCESS_UID, PROXY_UID
from tests.manifests.programs import ROOT
from tests.manifests.test_objects import made, pods
from tests.manifests.test_same_output import VALUES

Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """Instructions by stage; what comes before the first FROM is left out."""
    text = (ROOT / "images" / "Containerfile").read_text()
    lines = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    found: list[list[Instruction]] = []
    for line in lines.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if word and found:
            found[-1].append((word, " ".join(rest.split())))
    return found


def of(stage: list[Instruction], word: str) -> list[str]:
    return [rest for name, rest in stage if name == word]


def installed_packages(stage: list[Instruction]) -> Iterator[str]:
    for command in of(stage, "RUN"):
        for part in command.split("&&"):
            words = part.split()
            if words[:2] == ["apt-get", "install"]:
                yield from (word for word in words[2:] if not word.startswith("-"))


def test_compilers_stay_in_the_first_stage() -> None:
    first, last = stages()
    assert "gcc" in set(installed_packages(first))
    assert set(installed_packages(last)) == {"iptables"}
    assert any("REMORA_COMPILE=1" in command for command in of(first, "RUN"))
    assert of(last, "COPY") == ["--from=build /opt/remora /opt/remora"]


def test_it_runs_as_nobody_in_particular() -> None:
    last = stages()[-1]
    assert of(last, "USER") == [f"{PROCESS_UID}:{PROCESS_UID}"], "numbers: runAsNonRoot cannot judge a name"
    assert f"--uid {PROXY_UID}" in " ".join(of(last, "RUN"))
    assert json.loads(of(last, "ENTRYPOINT")[0]) == ["remora"]
    words = [word for word, _ in last]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word == "RUN")


def test_what_it_is_made_of_can_be_named_and_pinned() -> None:
    text = (ROOT / "images" / "Containerfile").read_text()
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.M)
    assert ":" in base
    assert not base.endswith(":latest")
    assert all(of(stage, "FROM")[0].startswith("${PYTHON_IMAGE}") for stage in stages())
    labels = " ".join(of(stages()[-1], "LABEL"))
    for name in ("title", "licenses", "version", "revision", "created"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_nothing_is_fetched_past_the_packagers_or_left_behind() -> None:
    for stage in stages():
        assert of(stage, "ADD") == []
        for command in of(stage, "RUN"):
            assert not re.search(r"\b(curl|wget|git)\b", command)
            if "apt-get install" in command:
                assert "--no-install-recommends" in command
                assert "rm -rf /var/lib/apt/lists/*" in command
            assert "pip install" not in command or "--no-cache-dir" in command
        for name in of(stage, "ARG"):
            assert not re.search(r"token|password|secret|key", name, re.I), "arguments stay in an image's history"


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    for line in of(stages()[0], "COPY"):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source
    assert "*" in ignored, "all else, the repository's history and tests too, stays here"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_container_starts_what_the_command_has(values: Any) -> None:
    for name, template in pods(made(values)):
        for container in template["spec"]["containers"]:
            assert "command" not in container, "the image's entry point"
            assert container["args"][0] in COMPONENTS, name
