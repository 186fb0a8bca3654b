"""The bench's own arithmetic, and what it writes."""

import json
from pathlib import Path

import pytest

from tests.bench.cases import QUICK
from tests.bench.load import percentile
from tests.bench.measure import Run, median
from tests.bench.report import BEGIN, END, Machine, markdown, rows, update_document, write_json


def _run(cpu_us: float, **more: float) -> Run:
    return Run(**{"rps": 1000.0, "cpu_us": cpu_us, "p50_ms": 1.0, "p99_ms": 2.0, "rss_mib": 60.0, "disturbed": 0.0,
                  "achieved": 1.0, **more})  # fmt: skip


_RESULTS = {
    ("plain-100B", "remora"): [_run(30.0), _run(20.0), _run(27.0, disturbed=0.5)],
    ("plain-100B", "envoy"): [_run(40.0), _run(36.0), _run(34.0)],
    ("mtls2-100B", "remora"): [_run(50.0)],
}


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (1, 1), (0, 1)])
def test_percentiles_are_values_that_occurred(percent: float, expected: int) -> None:
    assert percentile(list(range(1, 101)), percent) == expected


def test_each_figure_has_its_own_median() -> None:
    middle = median([_run(1.0, rps=30.0), _run(2.0, rps=20.0), _run(3.0, rps=10.0)])
    assert (middle.cpu_us, middle.rps) == (2.0, 20.0)


def test_rows_have_the_keys_that_programs_rely_on(tmp_path: Path) -> None:
    write_json(tmp_path / "build" / "bench.json", _RESULTS)
    written = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert written == rows(_RESULTS)
    assert written[0] == {
        "case": "plain-100B", "system": "remora", "rps": 1000, "cpu_us": 27.0, "p50_ms": 1.0, "p99_ms": 2.0,
        "rss_mib": 60.0, "cpu_ratio_to_envoy": 0.75,
    }  # fmt: skip
    assert written[1]["cpu_ratio_to_envoy"] == 1.0
    assert written[2]["cpu_ratio_to_envoy"] is None


def test_the_table_says_what_disturbed_it() -> None:
    text = markdown(_RESULTS, QUICK, Machine("2026-01-31", "2 × CPU", "6.1", {"envoy": "1.40.0"}))
    assert "| plain-100B | remora | 1,000 | 27.0 | 0.75 | 20.0–30.0 | 1.00 | 2.00 | 60 |" in text
    assert "Other programs used up to 50% of the proxies' core" in text
    assert "envoy 1.40.0" in text


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
