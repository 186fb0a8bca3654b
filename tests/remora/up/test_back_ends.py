"""Settings that `remora up --elasticsearch` writes for the collector."""

import re
from pathlib import Path

import pytest

from collectors.settings.load import load
from remora.failure import Failure
from remora.state import State
from remora.up.back_ends import Elasticsearch, write_settings


def test_logs_and_traces_go_there_and_everything_into_the_store(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("c2VjcmV0")
    key.chmod(0o600)
    path = write_settings(State(tmp_path), Elasticsearch("https://es.example.com:9200", key))
    configuration = load(path)
    assert {name: one.type for name, one in configuration.exporters.items()} == {
        "store": "store",
        "logs": "elasticsearch",
        "traces": "jaeger",
    }
    assert [(route.signals(), route.exporters) for route in configuration.routes] == [
        (("logs",), ("store", "logs")),
        (("traces",), ("store", "traces")),
        (("metrics",), ("store",)),
    ]
    assert configuration.exporters["logs"].settings.urls == ("https://es.example.com:9200",)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "c2VjcmV0" not in path.read_text()


@pytest.mark.parametrize(
    ("url", "key", "why"),
    [
        ("es.example.com", None, "is no URL of HTTP; write http://HOST:PORT"),
        ("https://me:pw@es.example.com", None, "has a user or password in it"),
        ("http://es.example.com:9200", "key", "would send credentials to es.example.com without TLS"),
        ("https://es.example.com:9200", "missing", "cannot be read"),
    ],
)
def test_an_address_that_cannot_be_used_is_said_before_anything_starts(
    tmp_path: Path, url: str, key: str | None, why: str
) -> None:
    (tmp_path / "key").write_text("c2VjcmV0")
    (tmp_path / "key").chmod(0o600)
    asked = Elasticsearch(url, None if key is None else tmp_path / key)
    with pytest.raises(Failure, match=f"--elasticsearch: .*{re.escape(why)}") as raised:
        write_settings(State(tmp_path), asked)
    assert "pw" not in str(raised.value)
