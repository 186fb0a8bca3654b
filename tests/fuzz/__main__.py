"""Search all targets, guided by coverage: `python -m tests.fuzz [--seconds N] [TARGET ...]`. Needs the `fuzz` extra.

What is found is kept under build/fuzz, and so is what was reached: the next run goes on from there.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.targets import SEEDS, TARGETS

DIRECTORY = Path("build/fuzz")
MAX_INPUT_BYTES = 2048
MEMORY_MIB = 1024
"""Of the process that searches; it holds the corpus too. More is a finding."""
INPUT_S = 5
"""One input may take this long."""
_NOISE = re.compile(r"^INFO:|\t(?:NEW|REDUCE|RELOAD) |# Uses:|ecommended dictionary")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (default: %(default)s)")
    flags = parser.parse_args()
    unknown = [name for name in flags.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    names = flags.targets or list(TARGETS)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as several:
        statuses = list(several.map(lambda name: _search(name, flags.seconds), names))
    for name, status in zip(names, statuses, strict=True):
        print(f"{name}: {'nothing found' if status == 0 else f'found something: see {DIRECTORY / name}'}")
    return 1 if any(statuses) else 0


def _search(name: str, seconds: int) -> int:
    """Exit status of one target's search; its progress goes to standard output."""
    corpus = DIRECTORY / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={INPUT_S}",
        f"-artifact_prefix={DIRECTORY / name}/",
    ]
    command = [sys.executable, "-m", "tests.fuzz.run", name, str(corpus), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if not _NOISE.search(line):
                print(f"{name}: {line}", end="", flush=True)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
