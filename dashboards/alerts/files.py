"""The generated files: what is in each, and whether those on disk are current."""

from pathlib import Path

from dashboards.alerts.alertmanager import Receivers, render_alertmanager
from dashboards.alerts.objectives import Objectives
from dashboards.alerts.operations import operations_groups
from dashboards.alerts.recording import recording_groups
from dashboards.alerts.rules import Group, render
from dashboards.alerts.slo import slo_groups

GENERATED = Path(__file__).parent / "generated"


def groups(objectives: Objectives) -> dict[str, tuple[Group, ...]]:
    """Rule files by name."""
    return {
        "recording.yml": tuple(recording_groups(objectives)),
        "slo.yml": tuple(slo_groups(objectives)),
        "operations.yml": tuple(operations_groups()),
    }


def files(objectives: Objectives, receivers: Receivers) -> dict[str, str]:
    """Every file's text by name."""
    rules = {name: render(found) for name, found in groups(objectives).items()}
    return {**rules, "alertmanager.yml": render_alertmanager(receivers)}


def stale(directory: Path) -> list[str]:
    """Names of files in `directory` that are not what the code makes today, and of those that it does not make."""
    wanted = files(Objectives(), Receivers())
    present = {path.name: path.read_text("utf-8") for path in directory.glob("*.yml")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
