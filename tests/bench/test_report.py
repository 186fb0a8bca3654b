"""The bench's own arithmetic, and what it writes."""

import json
from pathlib import Path

import pytest

from tests.bench.cases import COMPILED, ENVOY, FULL, QUICK
from tests.bench.load import Paced, percentile
from tests.bench.measure import Figures, Run
from tests.bench.processes import Memory
from tests.bench.report import BEGIN, END, Machine, markdown, rows, update_document, write_json


def _run(cpu_us: float, **more: float) -> Run:
    return Run(**{"per_s": 1000.0, "cpu_us": cpu_us, "rss_mib": 60.0, "disturbed": 0.0, **more})


_RESULTS = {
    ("plain-100B", "remora"): Figures(
        [_run(30.0), _run(20.0), _run(27.0, disturbed=0.5)], [Paced(1.0, 1.0, 2.0), Paced(0.9, 1.0, 3.0)], rate=500.0
    ),
    ("plain-100B", "envoy"): Figures([_run(40.0), _run(36.0), _run(34.0)], [Paced(1.0, 1.0, 5.0)], rate=500.0),
    ("mtls2-100B", "remora"): Figures([_run(50.0)]),
    ("tcp-plain-1", "remora"): Figures([_run(500.0, per_s=2e9)]),
    ("tcp-plain-1", "envoy"): Figures([_run(400.0, per_s=1e9)]),
    ("tcp-plain-echo", "envoy"): Figures([_run(10.0)]),
    ("idle", "remora"): Figures(idle=Memory(60.0, 30.5)),
    ("idle", "envoy"): Figures(idle=Memory(64.0, 0.0)),
}


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (1, 1), (0, 1)])
def test_percentiles_are_values_that_occurred(percent: float, expected: int) -> None:
    assert percentile(list(range(1, 101)), percent) == expected


def test_each_figure_has_its_own_median() -> None:
    figures = Figures([_run(1.0, per_s=30.0), _run(2.0, per_s=20.0), _run(3.0, per_s=10.0)])
    assert (figures.median(lambda run: run.cpu_us), figures.median(lambda run: run.per_s)) == (2.0, 20.0)
    assert figures.paced_median(lambda run: run.p99_ms) is None


def test_rows_have_the_keys_that_programs_rely_on(tmp_path: Path) -> None:
    write_json(tmp_path / "build" / "bench.json", _RESULTS)
    written = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert written == rows(_RESULTS)
    assert all(list(row) == list(written[0]) for row in written)
    assert written[0] == {
        "case": "plain-100B", "system": "remora", "rps": 1000, "cpu_us": 27.0, "p50_ms": 1.0, "p99_ms": 2.5,
        "rss_mib": 60.0, "cpu_ratio_to_envoy": 0.75, "rate": 500, "p99_ratio_to_envoy": 0.5,
        "throughput_ratio_to_envoy": 1.0, "gbit_s": None, "mb_per_cpu_s": None, "agent_mib": None, "worker_mib": None,
    }  # fmt: skip
    assert written[1]["cpu_ratio_to_envoy"] == 1.0
    assert (written[2]["cpu_ratio_to_envoy"], written[2]["p99_ms"]) == (None, None)


def test_bytes_are_counted_per_second_and_per_second_of_cpu() -> None:
    row = next(row for row in rows(_RESULTS) if row["case"] == "tcp-plain-1")
    assert (row["rps"], row["gbit_s"], row["mb_per_cpu_s"]) == (None, 16.0, 2097)
    assert (row["throughput_ratio_to_envoy"], row["cpu_ratio_to_envoy"]) == (2.0, 1.25)


def test_the_memory_of_agent_and_worker_is_told_apart() -> None:
    ours, envoys = (row for row in rows(_RESULTS) if row["case"] == "idle")
    assert (ours["agent_mib"], ours["worker_mib"], ours["rss_mib"], ours["cpu_us"]) == (60.0, 30.5, 90.5, None)
    assert (envoys["agent_mib"], envoys["rss_mib"]) == (None, 64.0)


def test_the_tables_say_what_disturbed_them() -> None:
    text = markdown(_RESULTS, QUICK, Machine("2026-01-31", "2 × CPU", "6.1", {"envoy": "1.40.0"}))
    assert "| plain-100B | remora | 1,000 | 27.0 | 0.75 | 20.0–30.0 | 500 | 1.00 | 2.50 | 0.50 | 60 |" in text
    assert "| tcp-plain-1 | remora | 16.0 | 2.00 | 2,097 | 1.25 |" in text
    assert "| tcp-plain-echo | envoy | 1,000 | 10.0 | 1.00 |" in text
    assert "| idle | remora | 90 | 60 | 30 |" in text
    assert "Other programs used up to 50% of the proxies' core" in text
    assert "the slowest made 90% of it" in text
    assert "envoy 1.40.0" in text


def test_the_plan_measures_what_is_judged_more_often() -> None:
    assert QUICK.rounds_of(COMPILED) == QUICK.rounds_of(ENVOY) == QUICK.rounds
    assert FULL.rounds_of("nginx") == FULL.witness_rounds < FULL.rounds


def test_only_the_figures_of_the_document_are_replaced(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update_document(document, "new \\1")
    assert document.read_text() == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"
    document.write_text("no markers")
    with pytest.raises(ValueError, match="markers"):
        update_document(document, "new")


def test_the_repositorys_document_has_the_markers() -> None:
    document = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    assert document.index(BEGIN) < document.index(END)
