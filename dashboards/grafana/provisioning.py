"""Files for Grafana's own provisioning: dashboards, the provider that finds them, data sources.

https://grafana.com/docs/grafana/latest/administration/provisioning/
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from dashboards.grafana.datasources import FINGERPRINT, Sources
from dashboards.grafana.files import committed
from dashboards.grafana.folder import Folder
from mesh.files import write_atomic

DASHBOARDS = PurePosixPath("dashboards")
PROVIDER = PurePosixPath("provisioning/dashboards/remora.yaml")
SOURCES = PurePosixPath("provisioning/datasources/remora.yaml")


def provisioning(sources: Sources, folder: Folder, *, path: str) -> dict[PurePosixPath, str]:
    """Every file's text, by its place below the target. `path`: where Grafana itself finds the dashboards' files."""
    files = {DASHBOARDS / name: _json(content) for name, content in committed().items()}
    files[PROVIDER] = _yaml({"apiVersion": 1, "providers": [_provider(folder, path)]})
    if payloads := sources.payloads():
        files[SOURCES] = _yaml({"apiVersion": 1, "datasources": [_escaped(_unsigned(each)) for each in payloads]})
    return files


def write(files: Mapping[PurePosixPath, str], target: Path) -> list[Path]:
    """Write what is new or different; returns what was written. Raises OSError."""
    written = []
    for relative, text in files.items():
        path = target / relative
        data = text.encode()
        if path.exists() and path.read_bytes() == data:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
        written.append(path)
    return written


def _provider(folder: Folder, path: str) -> dict[str, Any]:
    return {
        "name": "remora",
        "orgId": 1,
        "folder": folder.title,
        "folderUid": folder.uid,
        "type": "file",
        "disableDeletion": False,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": path, "foldersFromFilesStructure": False},
    }


def _unsigned(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A provisioned data source cannot be changed by hand: it needs no fingerprint."""
    settings = {key: value for key, value in payload["jsonData"].items() if key != FINGERPRINT}
    return {**payload, "jsonData": settings, "editable": False}


def _escaped(value: Any) -> Any:
    """Provisioning puts environment variables in place of `$NAME`; `$$` is a dollar."""
    match value:
        case str():
            return value.replace("$", "$$")
        case dict():
            return {key: _escaped(each) for key, each in value.items()}
        case list():
            return [_escaped(each) for each in value]
        case _:
            return value


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _yaml(content: Mapping[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 120
    text = io.StringIO()
    yaml.dump(dict(content), text)
    return text.getvalue()
