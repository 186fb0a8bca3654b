"""`remora inject` as a user runs it: files, directories, standard input, settings, and what it says on failure."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from remora import cli

POD = (
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web  # the web\nspec:\n  containers:\n  - name: web\n    image: w\n"
)


@pytest.fixture
def web(tmp_path: Path) -> Path:
    path = tmp_path / "web.yaml"
    path.write_text(POD)
    return path


def names(text: str) -> list[str]:
    pod = YAML(typ="safe").load(text)
    return [each["name"] for group in ("initContainers", "containers") for each in pod["spec"].get(group, [])]


def test_a_manifest_is_printed_with_its_sidecar_and_removed_again(
    web: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["inject", "-f", str(web)]) == 0
    injected = capsys.readouterr()
    assert names(injected.out) == ["remora-init", "remora-proxy", "web"]
    assert "# the web" in injected.out
    assert injected.err == ""
    again = tmp_path / "injected.yaml"
    again.write_text(injected.out)
    assert cli.run(["inject", "-f", str(again)]) == 0
    second = capsys.readouterr()
    assert second.out == injected.out
    assert second.err == f"{again}:1: Pod/web: is left as it is: it has its sidecar already\n"
    assert cli.run(["inject", "--remove", "-f", str(again)]) == 0
    assert capsys.readouterr().out == POD


def test_settings_come_from_files_and_from_the_command_line_which_wins(
    web: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("nativeSidecars: false\ncni: true\nresources:\n  requests: {cpu: 10m}\n")
    options = [
        "--set",
        "cni=false",
        "--set",
        "resources.requests.memory=32Mi",
        "--set",
        "capture.excludeOutboundPorts=22",
    ]
    assert cli.run(["inject", "-f", str(web), "--values", str(values), *options]) == 0
    text = capsys.readouterr().out
    assert names(text) == ["remora-init", "remora-proxy", "web"]
    pod = YAML(typ="safe").load(text)
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "10m", "memory": "32Mi"},
        "limits": {"memory": "512Mi"},
    }
    assert pod["spec"]["initContainers"][0]["args"] == ["init-iptables", "--exclude-outbound-ports=22"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "nativeSidecar=true"], "--set nativeSidecar: nativeSidecar: is an unknown field; did you mean"),
        (["--set", "nativeSidecars"], "--set 'nativeSidecars': write NAME=VALUE"),
        (["--set", "a..b=c"], "--set 'a..b=c': write NAME=VALUE"),
        (["--set", "image=[x"], "--set 'image=[x': the value is no YAML; quote it"),
        (["--set", "concurrency=many"], "--set concurrency: concurrency: is the text 'many'; write a whole number"),
        (["--set", "capture.excludeInboundPorts=x"], "--set capture.excludeInboundPorts: capture."),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_its_name(
    web: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert cli.run(["inject", "-f", str(web), *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(said)


def test_a_wrong_setting_of_a_file_is_refused_with_its_line(
    web: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("cni: true\nlogLevel: loud\ncontrolAddress: nowhere\n")
    assert cli.run(["inject", "-f", str(web), "--values", str(values)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"{values}:2: logLevel: is 'loud'") for line in lines), lines
    assert any(line.startswith(f"{values}:3: controlAddress: is 'nowhere'") for line in lines), lines


def test_a_directory_is_printed_as_one_stream_with_markers_between_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(POD.rstrip("\n"))
    (tmp_path / "b.yml").write_text("---\napiVersion: v1\nkind: Service\nmetadata: {name: s}   # odd\n")
    (tmp_path / "c.yaml").write_text("kind: ConfigMap\napiVersion: v1\n")
    assert cli.run(["inject", "-f", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert [each["kind"] for each in YAML(typ="safe").load_all(text)] == ["Pod", "Service", "ConfigMap"]
    assert text.endswith(
        "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}   # odd\n---\nkind: ConfigMap\napiVersion: v1\n"
    )


def test_several_documents_as_json_are_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(f"{POD}---\nkind: ConfigMap\napiVersion: v1\n")
    assert cli.run(["inject", "-f", str(path), "-o", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["kind"], [each["kind"] for each in listed["items"]]) == ("List", ["Pod", "ConfigMap"])


def test_json_is_printed_as_yaml_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pod.json"
    path.write_text(json.dumps(YAML(typ="safe").load(POD)))
    assert cli.run(["inject", "-f", str(path), "-o", "yaml"]) == 0
    text = capsys.readouterr().out
    assert not text.startswith("{")
    assert names(text) == ["remora-init", "remora-proxy", "web"]


def test_one_bad_pod_and_nothing_is_printed_but_every_mistake(
    web: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(POD.replace("image: w", "securityContext: {runAsUser: 1337}\n    ports: [{containerPort: 15006}]"))
    assert cli.run(["inject", "-f", str(web), "-f", str(bad)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith(f"{bad}:8: Pod/web: spec.containers[0].securityContext.runAsUser: is 1337")
    assert lines[1].startswith(f"{bad}:9: Pod/web: spec.containers[0].ports[0].containerPort: is 15006")


def test_warnings_are_said_and_the_manifest_is_printed(web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web.write_text(POD.replace("  containers", "  initContainers: [{name: setup, image: s}]\n  containers"))
    assert cli.run(["inject", "-f", str(web), "--set", "nativeSidecars=false"]) == 0
    captured = capsys.readouterr()
    assert names(captured.out) == ["setup", "remora-init", "remora-proxy", "web"]
    assert "init container setup runs before the sidecar" in captured.err


def test_a_namespace_among_the_files_and_the_flag_decide_where_pods_are(
    web: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {remora.io/injection: disabled}}\n"
    )
    assert cli.run(["inject", "-f", str(web), "-f", str(space), "-n", "shop"]) == 0
    assert "is left as it is: injection is disabled in the namespace" in capsys.readouterr().err
    assert cli.run(["inject", "-f", str(web), "-n", "kube-system"]) == 0
    assert "nothing is injected in namespace kube-system" in capsys.readouterr().err


def test_settings_beside_remove_are_wrong_use(web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["inject", "--remove", "-f", str(web), "--set", "cni=true"]) == 2
    assert "what was injected says itself how" in capsys.readouterr().err
