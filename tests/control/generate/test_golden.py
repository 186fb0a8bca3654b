"""What is generated, kept to be read: each case holds rules, `--- # expected`, and the resources that it asks to see.
Cases that say `# pods` are of the mesh of pods, with its Services.

`pytest --update-golden` rewrites what is expected; the difference is for a person to read.
"""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2  # noqa: F401  json_format finds types that are imported
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from ruamel.yaml import YAML

from control.generate import TYPES, generate
from tests.control.translate.pods import of_case

CASES = sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
MARK = "--- # expected\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_what_is_generated_is_what_was_read_before(path: Path, update_golden: bool) -> None:
    rules, _, expected = path.read_text().partition(MARK)
    options = [line[2:].split(": ", 1) for line in rules.splitlines() if line.startswith("# show: ")]
    snapshot = generate(*of_case(rules))
    shown: list[dict[str, Any]] = []
    for _, value in options:
        kind, wanted = value.split(" ", 1)
        found = [r for n, p in snapshot.resources[TYPES[kind]].items() for r in select(kind, n, p, wanted)]
        assert found, f"{value}: there is no such resource"
        shown += found
    text = dump(shown)
    if update_golden:
        path.write_text(f"{rules.rstrip()}\n{MARK}{text}")
        return
    assert text == expected, f"differs from {path.name}; read the difference, then --update-golden"


def select(kind: str, name: str, packed: AnyMessage, wanted: str) -> list[dict[str, Any]]:
    """The resource, or of a route configuration the virtual hosts, whose name contains `wanted`."""
    message: dict[str, Any] = json.loads(json_format.MessageToJson(packed, preserving_proto_field_name=True))
    del message["@type"]
    if kind == "RDS":
        return [host for host in message["virtual_hosts"] if wanted in host["name"]]
    return [message] if wanted in name else []


def dump(resources: list[dict[str, Any]]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1000
    stream = StringIO()
    yaml.dump(resources, stream)
    return stream.getvalue()


def test_there_are_cases() -> None:
    assert len(CASES) >= 7
