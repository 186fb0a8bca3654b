"""`remora collect --config FILE` as its users meet it."""

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from collectors.options import parse
from collectors.store import Reader
from tests.collectors.forward_peers import AckingSender
from tests.collectors.standalone import COLLECT, Standalone

Eventually = Callable[..., Awaitable[None]]

SETTINGS = """\
receivers:
  forward:
    listeners:
      - address: 127.0.0.1:0
processors:
  quiet: {type: filter, drop: [{severities: [debug]}]}
exporters:
  archive: {type: file, path: archive.ndjson}
  errors: {type: file, path: errors.ndjson}
  local: {type: store}
routes:
  - match: {severities: [error]}
    exporters: [errors]
    continue: true
  - match: {tags: ["app.**"]}
    processors: [quiet]
    exporters: [archive, local]
"""


def check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COLLECT, "--check", "--config", str(path)], capture_output=True, text=True, timeout=30)


def test_check_says_that_all_is_well(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(SETTINGS)
    result = check(path)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{path}: all is well\n", "")
    assert list(tmp_path.iterdir()) == [path], "nothing is made"


def test_check_says_what_is_wrong_line_by_line_and_exits_with_1(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(SETTINGS.replace("archive.ndjson}", "archive.ndjson, password: x}").replace("[quiet]", "[quite]"))
    result = check(path)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line.removeprefix(str(path)).partition(" ")[0] for line in lines] == [":6:", ":8:", ":16:"]
    assert "did you mean quiet?" in lines[2]


def test_check_finds_what_only_a_start_would(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = SETTINGS.replace("path: errors.ndjson", "path: archive.ndjson").replace("127.0.0.1:0", "192.0.2.1:4224")
    path.write_text(text.replace("      - address:", "      - allow_plaintext: true\n        address:"))
    result = check(path)
    assert result.returncode == 1
    lines = [line.removeprefix(str(path)) for line in result.stderr.splitlines()]
    assert [line.split(": ")[:2] for line in lines] == [
        [":5", "receivers.forward.listeners[0].address"],
        [":10", "exporters.errors.path"],
    ]
    assert "this machine has no such address" in lines[0]
    assert list(tmp_path.iterdir()) == [path], "nothing is made"


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = check(tmp_path / "none.yaml")
    assert result.returncode == 1
    assert result.stderr.startswith("remora collect: ")
    assert len(result.stderr.splitlines()) == 1


async def test_records_go_where_the_routes_say(tmp_path: Path, eventually: Eventually) -> None:
    with await asyncio.to_thread(Standalone, tmp_path, SETTINGS) as collector:
        host, port = collector.address("forward.0")
        for tag, levels in (("app.one", ["info", "debug", "error"]), ("other", ["info", "error"])):
            sender = AckingSender(tag, host=host, port=port, context=None)
            bodies = [{"message": f"{tag} {level}", "level": level} for level in levels]
            await asyncio.to_thread(sender.deliver, f"chunk-{tag}", bodies)
            sender.close()

        def messages(name: str) -> list[str]:
            path = tmp_path / name
            return (
                [json.loads(line)["body"]["message"] for line in path.read_text().splitlines()] if path.exists() else []
            )

        await eventually(lambda: len(messages("archive.ndjson")) == 2, "the archive has what it is to have")
        await eventually(lambda: len(messages("errors.ndjson")) == 2, "so have the errors")
        assert messages("archive.ndjson") == ["app.one info", "app.one error"]
        assert messages("errors.ndjson") == ["app.one error", "other error"]
        reader = Reader.open(tmp_path / "state" / "store" / "telemetry.sqlite")
        assert sorted(entry.body["message"] for entry in reader.logs()) == ["app.one error", "app.one info"]
        reader.close()
        async with httpx.AsyncClient(base_url=f"http://{collector.ready['health']}") as client:
            health = (await client.get("/healthz")).json()
            text = (await client.get("/metrics")).text
        assert health["ready"]
        assert health["exporters"].keys() == {"archive", "errors"}
        assert health["exporters"]["errors"]["sent"] == 2
        assert 'remora_collector_exporter_sent_records_total{exporter="archive",signal="logs"} 2.0' in text
        assert 'remora_collector_unrouted_records_total{signal="logs"} 1.0' in text
        assert 'remora_collector_discarded_records_total{signal="logs"} 1.0' in text
        assert 'remora_collector_stored_records_total{signal="logs"} 2.0' in text
        assert await asyncio.to_thread(collector.stop) == 0


async def test_a_back_end_that_is_down_is_seen_in_health_and_log(tmp_path: Path, eventually: Eventually) -> None:
    settings = SETTINGS.replace("path: errors.ndjson", "path: not/there/errors.ndjson")
    with await asyncio.to_thread(Standalone, tmp_path, settings) as collector:
        host, port = collector.address("forward.0")
        sender = AckingSender("x", host=host, port=port, context=None)
        await asyncio.to_thread(sender.deliver, "c", [{"level": "error"}])
        sender.close()
        async with httpx.AsyncClient(base_url=f"http://{collector.ready['health']}") as client:

            async def failing() -> bool:
                return "failing_for_s" in (await client.get("/healthz")).json()["exporters"]["errors"]

            await eventually(failing, "it is seen")
            health = await client.get("/healthz")
            text = (await client.get("/metrics")).text
        assert health.status_code == 200, "it takes records all the same"
        shown = health.json()["exporters"]["errors"]
        assert shown["queue_bytes"] > 0
        assert shown["oldest_age_s"] >= 0
        assert shown["last_error"].endswith("No such file or directory")
        assert 'remora_collector_exporter_failing{exporter="errors"} 1.0' in text
        assert "errors: cannot write" in collector.log()
        assert await asyncio.to_thread(collector.stop) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("127.0.0.1:0", "192.0.2.1:1"), "c.yaml: receivers.forward: "),
        (("path: archive.ndjson", "path: a, buffer: {directory: /dev/null}"), "c.yaml: exporters.archive.buffer: "),
    ],
    ids=["an address that is not ours", "a file in place of a directory"],
)
async def test_what_cannot_be_built_is_one_line_and_exit_status_1(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    settings = SETTINGS.replace(*change).replace("- address: 192", "- allow_plaintext: true\n        address: 192")
    collector = await asyncio.to_thread(
        Standalone, tmp_path, settings.replace("c.yaml", "collector.yaml"), expect_ready=False
    )
    assert await asyncio.to_thread(collector.process.wait, 10) == 1
    (line,) = [line for line in collector.log().splitlines() if "collector.yaml: " in line]
    assert said.removeprefix("c.yaml") in line
    assert "Traceback" not in collector.log()


MESH = ["--control", "127.0.0.1:1", "--root", "r", "--token-file", "t"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--check"], "needs --config"),
        (["--state", "s"], "--control, --root, --token-file"),
        (["--state", "s", "--config", "c", "--control", "127.0.0.1:1"], "--root, --token-file"),
        (["--state", "s", "--config", "c", "--forward", "127.0.0.1:1"], "--forward: needs --control"),
        (["--state", "s", *MESH, "--follow-targets"], "--follow-targets: needs --control-ads"),
        (["--state", "s", "--config", "c", "--retention-hours", "1"], "the exporter of type store says that"),
        (["--state", "s", "--config", "c", "--max-store-mib", "100"], "the exporter of type store says that"),
    ],
    ids=str,
)
def test_flags_that_do_not_go_together_are_exit_status_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_inside_and_outside_of_a_mesh() -> None:
    outside = parse(["--state", "s", "--config", "c"])
    assert (outside.control, outside.config) == (None, Path("c"))
    inside = parse(["--state", "s", "--config", "c", *MESH, "--forward", "127.0.0.1:5"])
    assert (inside.control, inside.forward) == ("127.0.0.1:1", ("127.0.0.1", 5))


async def test_a_renamed_exporter_s_buffer_is_told_of_until_it_is_read_again(
    tmp_path: Path, eventually: Eventually
) -> None:
    settings = SETTINGS.replace("path: errors.ndjson", "path: not/there/errors.ndjson")
    with await asyncio.to_thread(Standalone, tmp_path, settings) as collector:
        host, port = collector.address("forward.0")
        sender = AckingSender("x", host=host, port=port, context=None)
        await asyncio.to_thread(sender.deliver, "c", [{"level": "error", "message": "late"}])
        sender.close()
        assert await asyncio.to_thread(collector.stop) == 0
    buffer = tmp_path / "state" / "buffers" / "errors"

    async def abandoned(text: str) -> list[dict[str, object]]:
        with await asyncio.to_thread(Standalone, tmp_path, text) as collector:
            async with httpx.AsyncClient(base_url=f"http://{collector.ready['health']}") as client:
                answer = await client.get("/healthz")
                metrics = (await client.get("/metrics")).text
            told: list[dict[str, object]] = answer.json().get("abandoned_buffers", [])
            assert answer.status_code == 200
            assert ("remora_collector_abandoned_buffer_records{" in metrics) == bool(told)
            if not told:
                path = tmp_path / "errors.ndjson"
                await eventually(lambda: path.exists() and "late" in path.read_text(), "it is delivered")
            assert await asyncio.to_thread(collector.stop) == 0
        return told

    renamed = SETTINGS.replace("errors: {", "problems: {").replace("exporters: [errors]", "exporters: [problems]")
    (one,) = await abandoned(renamed)
    assert (one["exporter"], one["directory"]) == ("errors", str(buffer))
    assert one["records"] == {"logs": 1, "spans": 0, "samples": 0}
    log = (tmp_path / "collect.log").read_text()
    assert f"exporters.errors is not used any more, and its buffer {buffer} has 1 records" in log
    assert await abandoned(renamed.replace("errors.ndjson", f"errors.ndjson, buffer: {{directory: {buffer}}}")) == []
