"""`python -m dashboards.alerts`: write the generated files, or check that they are current."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.alerts.alertmanager import Receivers
from dashboards.alerts.files import GENERATED, files, stale
from dashboards.alerts.objectives import Objectives
from mesh.flags import Parser
from mesh.records import DURATION_BUCKETS_MS

_EXAMPLE = """\
examples:
  python -m dashboards.alerts                                       write the repository's own files
  python -m dashboards.alerts --to /etc/prometheus/remora --available 0.9995 --quick-ms 500
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a checked file is stale."""
    parser = Parser(
        "python -m dashboards.alerts",
        "Prometheus' recording and alerting rules for a mesh, and Alertmanager's configuration.",
        _EXAMPLE,
    )
    usual, told = Objectives(), Receivers()
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a generated file is not current")
    parser.add_argument("--to", type=Path, default=GENERATED, metavar="DIR", help="where to write (default: here)")
    parser.add_argument("--available", type=_share, default=usual.available, metavar="SHARE",
                        help="of requests that must not fail (default: %(default)s)")  # fmt: skip
    parser.add_argument("--quick", type=_share, default=usual.quick, metavar="SHARE",
                        help="of requests that must be quick (default: %(default)s)")  # fmt: skip
    parser.add_argument("--quick-ms", type=_bound, default=usual.quick_ms, metavar="MS",
                        help="what quick is: a bound of the latency histogram (default: %(default)s)")  # fmt: skip
    parser.add_argument("--scale", type=_scale, default=usual.scale, metavar="FACTOR",
                        help="of every stretch of time; 0.0167 (1/60) is for trying out (default: 1)")  # fmt: skip
    parser.add_argument("--page-url", default=told.page_url, metavar="URL", help="Alertmanager's webhook for pages")
    parser.add_argument("--ticket-url", default=told.ticket_url, metavar="URL", help="and for tickets")
    given = parser.parse_args(argv)
    if given.check:
        found = stale(given.to)
        for name in found:
            print(f"{given.to / name} is not current: run python -m dashboards.alerts", file=sys.stderr)
        return 1 if found else 0
    objectives = Objectives(given.available, given.quick, given.quick_ms, scale=given.scale)
    given.to.mkdir(parents=True, exist_ok=True)
    for name, text in files(objectives, Receivers(given.page_url, given.ticket_url)).items():
        (given.to / name).write_text(text, "utf-8")
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share that can be promised; write 0.5 to 0.99999")
    return value


def _scale(text: str) -> float:
    value = float(text)
    if not 0.001 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: write 0.001 to 1")
    return value


def _bound(text: str) -> int:
    bounds = [int(bound) for bound in DURATION_BUCKETS_MS if bound >= 1]
    if not text.isdigit() or int(text) not in bounds:
        raise argparse.ArgumentTypeError(
            f"{text} is no bound of the histogram; there are {', '.join(map(str, bounds))}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
