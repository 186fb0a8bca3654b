"""`make bench-control`: what a mesh of a given size costs the control plane. See docs/scale.md."""

import argparse
import multiprocessing
import os
import platform
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.control.figures import markdown, update
from tests.bench.control.parts import from_a_cluster, from_worlds

_LOAD = os.getloadavg()[0]
_ROOT = Path(__file__).parents[3]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-control ARGS=", description=__doc__)
    parser.add_argument("--services", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--pods", type=int, default=5000, help="default: %(default)s")
    parser.add_argument("--streams", type=int, default=200, help="proxies without sockets (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=30, help="pods replaced one by one (default: %(default)s)")
    parser.add_argument("--crowd", type=int, default=1000, help="sidecars that connect at once (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave docs/scale.md as it is")
    options = parser.parse_args()
    # Each part in a process of its own: the memory of one is not the other's.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
        rows = [*processes.submit(from_worlds, options).result(), *processes.submit(from_a_cluster, options).result()]
    text = markdown(rows, _about(options))
    print(text)
    if not options.keep:
        update(_ROOT / "docs" / "scale.md", text)
    return 0


def _about(options: argparse.Namespace) -> str:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    machine = (
        f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}, Python {platform.python_version()}"
    )
    size = f"{options.services:,} services, {options.pods:,} pods, {options.streams:,} streams"
    load = f"load of the machine before {_LOAD:.1f}, after {os.getloadavg()[0]:.1f}"
    return (
        f"{datetime.now(UTC):%d %B %Y}; {size}; {machine}; {load} (times on the clock are of what the rest left over)."
    )


if __name__ == "__main__":
    sys.exit(main())
