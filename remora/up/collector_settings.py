"""`remora up --collector-config`: settings of the user's own for the collector, judged before anything starts."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from mesh.clock import Clock
from remora.failure import Failure
from remora.state import State

_LOOPBACK = "127.0.0.1"
_LISTENERS = ("forward", "otlp-grpc", "otlp-http")


def check_settings(
    path: Path, state: State, ports: Mapping[str, int], clock: Clock, say: Callable[[str], None]
) -> Path:
    """The file as the collector will read it: nothing is merged with it. `say` gets what is missed without it.

    Raises Failure with every mistake, a line each.
    """
    # Only who asked for it pays for reading settings.
    from collectors.settings.document import Invalid
    from collectors.settings.load import load
    from collectors.settings.surroundings import Surroundings

    path = path.absolute()
    around = Surroundings(
        in_mesh=True,
        state=state.directory,
        now=datetime.fromtimestamp(clock.now(), UTC),
        flags=tuple((f"remora up's --{name}", _LOOPBACK, ports[name]) for name in _LISTENERS),
        ports_are_free=False,
    )
    try:
        configuration = load(path, around)
    except Invalid as error:
        raise Failure(*(f"--collector-config: {one}" for one in error.violations)) from error
    except OSError as error:
        raise Failure(f"--collector-config: {path}: {error.strerror or error}") from error
    for warning in configuration.warnings:
        say(str(warning))
    if not any(one.type == "store" for one in configuration.exporters.values()):
        say(
            f"{path} has no exporter of type store: console, remora logs, traces, metrics, graph and errors will show "
            "nothing"
        )
    scrapes = [one.settings for one in configuration.receivers if one.type == "scrape"]
    if scrapes and not any(job.mesh for settings in scrapes for job in settings.jobs):
        say(f"{path} has a scrape receiver without a job of mesh: true: the sidecars' metrics are not read")
    return path
