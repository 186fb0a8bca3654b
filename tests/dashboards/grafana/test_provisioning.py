"""Data sources with their links, and the files of Grafana's provisioning."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dashboards.grafana.datasources import (
    ELASTICSEARCH_UID,
    FINGERPRINT,
    JAEGER_UID,
    PROMETHEUS_UID,
    Sources,
)
from dashboards.grafana.files import committed
from dashboards.grafana.folder import Folder
from dashboards.grafana.provisioning import DASHBOARDS, PROVIDER, SOURCES, provisioning, write

ALL = Sources("http://prometheus:9090", "http://elasticsearch:9200", "http://collector:16686")


def _by_uid(sources: Sources) -> dict[str, dict[str, Any]]:
    return {payload["uid"]: payload for payload in sources.payloads()}


def _load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(StringIO(text))


def test_from_each_of_metric_trace_and_log_the_others_are_one_click_away() -> None:
    found = _by_uid(ALL)
    exemplars = found[PROMETHEUS_UID]["jsonData"]["exemplarTraceIdDestinations"]
    assert [(each["name"], each["datasourceUid"]) for each in exemplars] == [("trace_id", JAEGER_UID)]
    traces = found[JAEGER_UID]["jsonData"]
    assert traces["tracesToLogsV2"]["datasourceUid"] == ELASTICSEARCH_UID
    assert traces["tracesToLogsV2"]["query"] == 'trace.id:"${__trace.traceId}"'
    assert traces["tracesToMetrics"]["datasourceUid"] == PROMETHEUS_UID
    links = {link["field"]: link for link in found[ELASTICSEARCH_UID]["jsonData"]["dataLinks"]}
    assert links["trace.id"]["datasourceUid"] == JAEGER_UID
    assert links["service.name"]["url"].startswith("/d/remora-service?var-service=")


@pytest.mark.parametrize("missing", ["prometheus", "elasticsearch", "jaeger"])
def test_no_link_leads_to_a_back_end_that_is_not_there(missing: str) -> None:
    kept = {name: "http://x:1" for name in ("prometheus", "elasticsearch", "jaeger") if name != missing}
    text = json.dumps(Sources(**kept).payloads())
    assert f"remora-{missing}" not in text


def test_the_files_are_what_grafana_reads(tmp_path: Path) -> None:
    files = provisioning(ALL, Folder("Team A"), path="/var/lib/grafana/dashboards/remora")
    assert {path.name for path in files if path.parent == DASHBOARDS} == set(committed())
    provider = _load(files[PROVIDER])
    assert provider["apiVersion"] == 1
    assert provider["providers"] == [
        {
            "name": "remora",
            "orgId": 1,
            "folder": "Team A",
            "folderUid": "team-a",
            "type": "file",
            "disableDeletion": False,
            "allowUiUpdates": False,
            "updateIntervalSeconds": 30,
            "options": {"path": "/var/lib/grafana/dashboards/remora", "foldersFromFilesStructure": False},
        }
    ]
    assert [source["uid"] for source in _load(files[SOURCES])["datasources"]] == [
        PROMETHEUS_UID,
        ELASTICSEARCH_UID,
        JAEGER_UID,
    ]


def test_dollars_survive_grafanas_environment_variables() -> None:
    """Grafana expands `$NAME` in these files; a doubled dollar is one."""
    files = provisioning(ALL, Folder(), path="/x")
    for source in _load(files[SOURCES])["datasources"]:
        text = json.dumps(source)
        assert "$" not in text.replace("$$", "")
        sent = json.loads(text.replace("$$", "$"))
        wanted = _by_uid(ALL)[source["uid"]]
        wanted["jsonData"].pop(FINGERPRINT)
        assert sent == {**wanted, "editable": False}


def test_without_back_ends_there_is_no_file_of_data_sources() -> None:
    assert SOURCES not in provisioning(Sources(), Folder(), path="/x")


def test_files_are_written_once(tmp_path: Path) -> None:
    files = provisioning(ALL, Folder(), path="/x")
    assert len(write(files, tmp_path)) == len(files)
    assert write(files, tmp_path) == []
    (tmp_path / PROVIDER).write_text("of a user")
    assert write(files, tmp_path) == [tmp_path / PROVIDER]
