"""The collector's settings for `remora up --elasticsearch`: what goes into the embedded store goes there too."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.files import write_atomic
from remora.failure import Failure
from remora.state import State

_KEPT = "7d"
"""By data streams. On one machine nobody looks for last month, and Elasticsearch's own lifecycle needs no ILM."""


@dataclass(frozen=True, slots=True)
class Elasticsearch:
    """What the flags say."""

    url: str
    api_key_file: Path | None = None


def write_settings(state: State, elasticsearch: Elasticsearch) -> Path:
    """The settings file, written anew at each start. Raises Failure for an address or a key that cannot be used."""
    nodes: dict[str, Any] = {"urls": [elasticsearch.url]}
    if elasticsearch.api_key_file is not None:
        nodes["api_key_file"] = str(elasticsearch.api_key_file.absolute())
    logs = {"type": "elasticsearch", **nodes, "retention": {"type": "data_stream", "delete_after": _KEPT}}
    settings = {
        "exporters": {"store": {"type": "store"}, "logs": logs, "traces": {"type": "jaeger", **nodes}},
        "routes": [
            {"match": {"signals": ["logs"]}, "exporters": ["store", "logs"]},
            {"match": {"signals": ["traces"]}, "exporters": ["store", "traces"]},
            {"match": {"signals": ["metrics"]}, "exporters": ["store"]},
        ],
    }
    path = state.directory / "collect.yaml"
    text = "# Written by `remora up --elasticsearch`; changes are lost at the next start.\n"
    # JSON is YAML, and quotes whatever an address may have in it.
    write_atomic(path, (text + json.dumps(settings, indent=2) + "\n").encode(), mode=0o600)
    _check(path)
    return path


def _check(path: Path) -> None:
    # Only who asked for it pays for reading settings.
    from collectors.settings.document import Invalid
    from collectors.settings.load import load

    try:
        load(path)
    except Invalid as error:
        # Both exporters have the same mistake, and the file is not the user's.
        raise Failure(f"--elasticsearch: {error.violations[0].message}") from error
