"""What is wrong with settings where they are to be used: with this mesh or none, this machine's ports and files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from collectors.settings.certificates import Judgement, judge_certificates
from collectors.settings.document import Steps
from collectors.settings.paths import judge_paths
from collectors.settings.ports import judge_ports
from collectors.settings.surroundings import Surroundings
from collectors.settings.walk import fields_of


def judge_place(
    components: Sequence[tuple[Steps, BaseModel]], config: Path, around: Surroundings
) -> Iterator[Judgement]:
    """`components`: settings of receivers, processors and exporters, each with where it is in the file `config`."""
    found = [each for steps, settings in components for each in fields_of(settings, steps)]
    for each in found:
        if each.name == "tls" and each.value == "mesh" and not around.in_mesh:
            yield Judgement(
                each.steps,
                "is mesh, and this collector is of no mesh; write certificate_file and key_file, or start it (and "
                "check its settings) with --control, --root and --token-file",
            )
    for steps, message in judge_ports(found, around):
        yield Judgement(steps, message)
    yield from judge_certificates(found, around.now)
    exporters = {str(steps[1]): settings for steps, settings in components if steps[0] == "exporters"}
    for steps, message in judge_paths(exporters, found, config, around.state):
        yield Judgement(steps, message)
