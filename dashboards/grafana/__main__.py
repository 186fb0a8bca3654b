"""`python -m dashboards.grafana` writes the generated dashboards; `--check` says what is stale or not whole."""

import argparse
import sys
from collections.abc import Sequence

from dashboards.grafana.check import complaints
from dashboards.grafana.files import GENERATED, committed, stale, write


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 all is well, 1 something is not."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.grafana", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale or not whole")
    options = parser.parse_args(argv)
    if not options.check:
        for path in write(GENERATED):
            sys.stdout.write(f"{path.name}\n")
    faults = [*stale(), *(fault for dashboard in committed().values() for fault in complaints(dashboard))]
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if faults and options.check:
        sys.stderr.write("`python -m dashboards.grafana` writes them again\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
