"""What is wrong with a settings file, in its words: every violation at once, with file, line and path."""

import textwrap
from pathlib import Path

import pytest

from collectors.settings.document import Invalid
from collectors.settings.load import load
from collectors.settings.registry import EXPORTERS, PROCESSORS, RECEIVERS, load_type

GOOD = """\
receivers:
  forward:
    listeners:
      - address: 127.0.0.1:24224
processors:
  quiet: {type: filter, drop: [{severities: [debug]}]}
exporters:
  archive:
    type: file
    path: out/records.ndjson
    buffer: {max_bytes: 64MiB, fsync: {interval: 1s}, retry_min: 100ms}
  local: {type: store, retention: 7d}
routes:
  - match: {tags: ["app.**"]}
    processors: [quiet]
    exporters: [archive, local]
  - exporters: [local]
"""


def violations(directory: Path, text: str) -> list[str]:
    path = directory / "c.yaml"
    path.write_text(textwrap.dedent(text))
    with pytest.raises(Invalid) as caught:
        load(path)
    return [str(one).removeprefix(f"{path}:") for one in caught.value.violations]


def test_a_file_without_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    loaded = load(path)
    archive = loaded.exporters["archive"].settings
    assert archive.path == tmp_path / "out" / "records.ndjson", "relative to the settings file"
    assert (archive.buffer.max_bytes, archive.buffer.fsync, archive.buffer.retry_min) == (64 << 20, 1.0, 0.1)
    assert loaded.exporters["local"].settings.retention == 7 * 86_400
    assert [route.exporters for route in loaded.routes] == [("archive", "local"), ("local",)]
    assert [receiver.type for receiver in loaded.receivers] == ["forward"]


ROUTE = "routes: [{exporters: [out]}]\n"
OUT = "exporters: {out: {type: blackhole}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: 1\n" + OUT + ROUTE, ["1: a: is unknown; known are receivers, processors, routes, exporters"],
                     id="an unknown section"),
        pytest.param("exporter: {}\n" + OUT + ROUTE, ["1: exporter: is unknown; did you mean exporters?"],
                     id="a misspelt section"),
        pytest.param("- 1\n", ["1: must be a mapping with receivers, processors, routes, exporters"], id="a list"),
        pytest.param("", ["1: must be a mapping with receivers, processors, routes, exporters"], id="nothing"),
        pytest.param(OUT, ["1: routes: must be a list with at least one route: - exporters: [NAME]"], id="no routes"),
        pytest.param(OUT + "routes: []\n", ["2: routes: must be a list with at least one route: - exporters: [NAME]"],
                     id="empty routes"),
        pytest.param(OUT + "routes:\n  - exporters: [out, aut]\n",
                     ["3: routes[0].exporters[1]: 'aut' is not under exporters; did you mean out?"],
                     id="an exporter that is not there"),
        pytest.param(OUT + "routes:\n  - processors: [x]\n    exporters: [out]\n",
                     ["3: routes[0].processors[0]: 'x' is not under processors; there are none"],
                     id="a processor that is not there"),
        pytest.param(OUT + "routes: [{exporters: [out, out]}]\n",
                     ["2: routes[0].exporters[1]: names out a second time"], id="twice the same"),
        pytest.param("exporters:\n  out: {type: blackhole}\n  other: {type: blackhole}\n" + ROUTE,
                     ["3: exporters.other: is used by no route; name it in one, or remove it"], id="an unused one"),
        pytest.param("exporters:\n  out: {type: filee}\n" + ROUTE,
                     [f"2: exporters.out.type: is no type that there is; did you mean file?; "
                      f"there are {', '.join(EXPORTERS)}"], id="an unknown type"),
        pytest.param("exporters:\n  out: {}\n" + ROUTE,
                     [f"2: exporters.out.type: needs a type; one of {', '.join(EXPORTERS)}"], id="no type"),
        pytest.param("exporters:\n  out: {type: store}\n  two: {type: store}\nroutes: [{exporters: [out, two]}]\n",
                     ["3: exporters.two: is a second store, out is the first; there can be one"], id="two stores"),
        pytest.param("exporters:\n  'a b': {type: blackhole}\nroutes: [{exporters: ['a b']}]\n",
                     ["2: exporters.a b: is no name; use up to 64 letters, digits, _ and -"], id="a space"),
        pytest.param("exporters:\n  ../../x: {type: blackhole}\nroutes: [{exporters: ['../../x']}]\n",
                     ["2: exporters.../../x: is no name; use up to 64 letters, digits, _ and -"], id="a path"),
        pytest.param("exporters:\n  out:\n    type: zipkin\n    url: http://127.0.0.1:9411\n" + ROUTE,
                     ["5: routes[0].exporters[0]: out (zipkin) takes traces, and this route has logs, metrics too; "
                      "write match: {signals: [traces]}, and another route for the rest"], id="signals that clash"),
        pytest.param(OUT + ROUTE + OUT, ["3: exporters: is written twice, first in line 1; keep one"],
                     id="a section twice"),
        pytest.param("a: 1\na: 2\n" + OUT + "routes: [{exporters: [aut], exporters: [out], severities: []}]\n",
                     ["1: a: is unknown; known are receivers, processors, routes, exporters",
                      "2: a: is written twice, first in line 1; keep one",
                      "4: routes[0].exporters: is written twice, first in line 4; keep one",
                      "4: routes[0].severities: is unknown; known are continue, exporters, match, processors"],
                     id="keys twice, and what else is wrong"),
        pytest.param("exporters:\n  out: {type: file, path: !include x, keep: 0x, max_byts: 1}\n" + ROUTE,
                     ["2: exporters.out.path: has the YAML tag !include; write plain values",
                      "2: exporters.out.keep: must be a whole number, without quotes",
                      "2: exporters.out.max_byts: is unknown; did you mean max_bytes?"],
                     id="a value that is left out is not missing"),
        pytest.param("a: [1\n", ["2: is not YAML: expected ',' or ']', but got '<stream end>'"], id="broken YAML"),
        pytest.param("a: !!python/object:os.system x\n",
                     ["1: a: has the YAML tag tag:yaml.org,2002:python/object:os.system; write plain values",
                      "1: routes: must be a list with at least one route: - exporters: [NAME]"], id="a tag"),
        pytest.param("a: 1\n---\nb: 1\n", ["3: is a second document; write one"], id="two documents"),
        pytest.param("1: a\n" + OUT + ROUTE, ["1: has a key that is no text; quote it"], id="a key that is a number"),
    ],
)  # fmt: skip
def test_mistakes_of_the_whole(tmp_path: Path, text: str, said: list[str]) -> None:
    assert violations(tmp_path, text) == said


@pytest.mark.parametrize(
    ("buffer", "said"),
    [
        ("{max_bytes: 1}", "max_bytes: must be at least 262,144"),
        ("{max_bytes: 1 MB}", None),
        ("{max_bytes: lots}", "max_bytes: is no size; write bytes or a number with its unit, one of KiB, MiB, GiB, kB, "
         "MB, GB: 64MiB"),
        ("{max_age: 10}", "max_age: is no duration; write a number with its unit, one of ms, s, m, h, d: 30s"),
        ("{max_age: 100ms}", "max_age: must be at least 1"),
        ("{fsync: sometimes}", "fsync: is no policy; write always, never, or {interval: 1s}"),
        ("{overflow: dropoldest}", "overflow: must be 'block', 'drop_oldest' or 'spill'"),
        ("{overflow: spill}", "has overflow: spill without spill.directory, or the other way round; write both or "
         "neither"),
        ("{parallel: '2'}", "parallel: must be a whole number, without quotes"),
        ("{parallel: true}", "parallel: must be a whole number, without quotes"),
        ("{parallel: 0}", "parallel: must be at least 1"),
        ("{retry_min: 1m, retry_max: 1s}", "has a retry_max below its retry_min"),
        ("{paralel: 1}", "paralel: is unknown; did you mean parallel?"),
        ("[]", "must be a mapping (name: value)"),
        ("{spill: {}}", "spill.directory: is required; add it"),
    ],
)  # fmt: skip
def test_mistakes_of_a_buffer(tmp_path: Path, buffer: str, said: str | None) -> None:
    text = f"exporters:\n  out:\n    type: blackhole\n    buffer: {buffer}\n{ROUTE}"
    if said is None:
        (tmp_path / "c.yaml").write_text(text)
        load(tmp_path / "c.yaml")
        return
    (found,) = violations(tmp_path, text)
    line, _, rest = found.partition(": ")
    assert line == "4"
    prefix = "exporters.out.buffer"
    assert rest == (f"{prefix}.{said}" if said.split(": ")[0].replace(".", "").isidentifier() else f"{prefix}: {said}")


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    found = violations(
        tmp_path,
        """\
        receivers:
          forward:
            listeners:
              - address: nowhere
          smoke: {}
        exporters:
          out:
            type: file
            pth: x
            buffer: {max_bytes: 1, parallel: 99}
        routes:
          - match: {severities: [fatal], signals: [logs, trace]}
            exporters: [out]
          - exporters: [out]
            processors: [nothing]
        """,
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["4", "receivers.forward.listeners[0].address"],
        ["5", "receivers.smoke"],
        ["7", "exporters.out.path"],
        ["9", "exporters.out.pth"],
        ["10", "exporters.out.buffer.max_bytes"],
        ["10", "exporters.out.buffer.parallel"],
        ["12", "routes[0].match.signals[1]"],
        ["12", "routes[0].match.severities[0]"],
        ["15", "routes[1].processors[0]"],
    ]


def test_a_secret_in_the_settings_is_refused_without_being_repeated(tmp_path: Path) -> None:
    (found,) = violations(
        tmp_path,
        """\
        receivers:
          forward:
            listeners:
              - address: 127.0.0.1:0
                shared_key: hunter2
        exporters: {out: {type: blackhole}}
        routes: [{exporters: [out]}]
        """,
    )
    assert "write shared_key_file: PATH" in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("mode", "content", "said"),
    [
        (0o644, b"secret", "chmod 0600"),
        (0o600, b"", "is empty"),
        (0o600, b"\xff\xfe", "is no UTF-8 text"),
        (0o600, b"x" * 70_000, "has more than 65536 bytes"),
        (None, b"", "cannot be read: No such file or directory"),
    ],
    ids=["readable by all", "empty", "binary", "too large", "not there"],
)
def test_a_secret_s_file_is_judged_when_settings_are_read(
    tmp_path: Path, mode: int | None, content: bytes, said: str
) -> None:
    if mode is not None:
        (tmp_path / "key").touch(mode=0o600)
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(mode)
    (found,) = violations(
        tmp_path,
        """\
        receivers:
          forward:
            listeners: [{address: "127.0.0.1:0", shared_key_file: key}]
        exporters: {out: {type: blackhole}}
        routes: [{exporters: [out]}]
        """,
    )
    assert said in found
    assert found.startswith("3: receivers.forward.listeners[0].shared_key_file: ")


def test_aliases_do_not_make_a_small_file_large(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"
    (found,) = violations(tmp_path, bomb)
    assert "makes more than 50,000 values" in found


def test_a_file_that_is_too_large_or_too_deep_is_refused(tmp_path: Path) -> None:
    assert violations(tmp_path, "# " + "x" * (1 << 20)) == ["1: has more than 1,048,576 bytes"]
    (found,) = violations(tmp_path, "a: " + "[" * 100 + "]" * 100)
    assert "is nested deeper than 40 levels" in found


@pytest.mark.parametrize("module", sorted({*RECEIVERS.values(), *PROCESSORS.values(), *EXPORTERS.values()}))
def test_every_type_of_the_registry_is_there(module: str) -> None:
    loaded = load_type(module)
    assert callable(loaded.build)
    schema = loaded.Settings.model_json_schema
    assert callable(schema)
    assert loaded.Settings.model_config["extra"] == "forbid"
    assert loaded.Settings.__doc__
