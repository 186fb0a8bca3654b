"""The generated rules: current, understood by Prometheus and Alertmanager, and right where time passes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.delivery.metrics import DeliveryMetrics
from collectors.delivery.stats import DeliveryStats
from collectors.telemetry import Telemetry
from dashboards.alerts.__main__ import main
from dashboards.alerts.alertmanager import Receivers
from dashboards.alerts.collectors import collector_alerts
from dashboards.alerts.files import GENERATED, files, groups, stale
from dashboards.alerts.objectives import Objectives
from dashboards.alerts.rules import Alert, duration
from mesh.records import DURATION_BUCKETS_MS
from tests.integration.debian import program

CASES = sorted((Path(__file__).parent / "cases").glob("*.test.yml"))
RULE_FILES = ("recording.yml", "slo.yml", "operations.yml")


def run(*argv: str, cwd: Path | None = None) -> str:
    """Standard output and error of a program that must succeed."""
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_the_generated_files_are_current() -> None:
    assert stale(GENERATED) == []


def test_a_file_that_was_edited_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to", str(tmp_path)]) == 0
    assert stale(tmp_path) == []
    (tmp_path / "slo.yml").write_text("groups: []\n")
    (tmp_path / "old.yml").write_text("groups: []\n")
    assert main(["--to", str(tmp_path), "--check"]) == 1
    assert "slo.yml is not current" in capsys.readouterr().err
    assert stale(tmp_path) == ["old.yml", "slo.yml"]


def test_promtool_and_amtool_accept_them() -> None:
    run(program("promtool"), "check", "rules", *(str(GENERATED / name) for name in RULE_FILES))
    run(program("amtool"), "check-config", str(GENERATED / "alertmanager.yml"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name.removesuffix(".test.yml"))
def test_alerts_fire_when_they_should(case: Path, tmp_path: Path) -> None:
    for name, text in files(Objectives(), Receivers()).items():
        (tmp_path / name).write_text(text)
    shutil.copy(case, tmp_path)
    assert "SUCCESS" in run(program("promtool"), "test", "rules", case.name, cwd=tmp_path)


def test_every_alert_says_what_to_do_and_how_urgent_it_is() -> None:
    alerts = [
        rule
        for found in groups(Objectives()).values()
        for group in found
        for rule in group.rules
        if isinstance(rule, Alert)
    ]
    assert len(alerts) > 20
    for alert in alerts:
        assert alert.severity in ("page", "ticket"), alert.name
        assert alert.name.startswith("Remora"), alert.name
        assert len(alert.description) > 60, alert.name
        assert "\n" not in alert.summary, alert.name


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--available", "1"], "is no share"),
        (["--quick-ms", "750"], "is no bound of the histogram"),
        (["--scale", "0"], "write 0.001 to 1"),
    ],
)
def test_objectives_that_cannot_be_are_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_a_small_scale_makes_minutes_seconds_and_keeps_the_names(tmp_path: Path) -> None:
    assert main(["--to", str(tmp_path), "--scale", "0.016666667"]) == 0
    usual, small = ((GENERATED, tmp_path)[index] / "slo.yml" for index in (0, 1))
    assert "slo:service_errors:ratio_rate1h" in small.read_text()
    assert "[1h]" in usual.read_text()
    assert "[1m]" in small.read_text()
    run(program("promtool"), "check", "rules", *(str(tmp_path / name) for name in RULE_FILES))


def test_the_bound_of_quick_requests_is_one_of_the_histogram() -> None:
    assert Objectives().quick_ms in DURATION_BUCKETS_MS


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5m"), (3600, "1h"), (259_200, "3d"), (90, "90s"), (0.25, "250ms"), (5.0000001, "5s")]
)
def test_durations_are_as_prometheus_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_alerts_on_deliveries_speak_of_metrics_that_deliveries_have() -> None:
    """A laptop's mesh has no exporters with a buffer, so that the running mesh cannot show it."""
    shown = {
        sample.name
        for family in DeliveryMetrics([("a", DeliveryStats())], lambda: 0.0).collect()
        for sample in family.samples
    }
    shown |= {name for name, _ in _samples(Telemetry().render().decode())}
    asked = {
        name
        for alert in collector_alerts()
        for name in re.findall(r"remora_collector_(?:exporter|cardinality)_\w+", alert.expression)
    }
    assert len(asked) >= 6
    assert asked - {"remora_collector_cardinality_dropped_samples_total"} <= shown


def _samples(text: str) -> set[tuple[str, float]]:
    return {(sample.name, sample.value) for family in text_string_to_metric_families(text) for sample in family.samples}
