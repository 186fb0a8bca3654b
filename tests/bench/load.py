"""The load: wrk as fast as it gets, h2load at a fixed rate. Both pinned away from the proxies."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import CONNECTIONS, LOAD_CORE
from tests.bench.processes import Failed

_SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where requests go in, and whom they are for."""

    port: int
    authority: str


@dataclass(frozen=True, slots=True)
class Saturated:
    """A run with every connection busy."""

    requests: int
    rps: float


@dataclass(frozen=True, slots=True)
class Paced:
    """A run at a fixed rate."""

    achieved: float
    """Share of the wanted requests that were answered, 0 to 1; less than 1 where the machine was too busy."""
    p50_ms: float
    p99_ms: float


def saturate(entry: Entry, path: str, seconds: int) -> Saturated:
    """Raises Failed if a single answer was not 200 or a connection broke: such a figure would mean nothing."""
    output = _run(
        [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "-s",
            str(_SCRIPT),
            f"http://127.0.0.1:{entry.port}",
            "--",
            entry.authority,
            path,
        ],
        seconds,
    )
    wrong = re.search(r"Non-2xx.*|Socket errors.*", output)
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s)", output)
    if wrong or not total:
        raise Failed(f"wrk on {entry}: {wrong[0] if wrong else output}")
    took_s = float(total[2]) / (1000 if total[3] == "ms" else 1)
    return Saturated(int(total[1]), int(total[1]) / took_s)


def pace(entry: Entry, path: str, seconds: int, rate: int, directory: Path) -> Paced:
    """`rate` requests per second, spread over the connections. Times are from sending a request to its answer's end.

    Raises Failed if an answer was not 200.
    """
    log = directory / "h2load.log"
    log.unlink(missing_ok=True)
    urls = directory / "urls"
    urls.write_text("".join(f"http://127.0.0.1:{entry.port}{path}?user={i * 7919}&page={i % 17}\n" for i in range(64)))
    output = _run(
        [
            "h2load",
            "--h1",
            f"--clients={CONNECTIONS}",
            f"--duration={seconds}",
            f"--rps={rate / CONNECTIONS:g}",
            f"--log-file={log}",
            f"--input-file={urls}",
            f"--header=:authority: {entry.authority}",
            "--header=user-agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/131.0",
            "--header=accept: */*",
            "--header=cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
        ],
        seconds,
    )
    times: list[int] = []
    for line in log.read_text().splitlines():
        _, status, micros = line.split("\t")[:3]
        if status != "200":
            raise Failed(f"h2load on {entry}: an answer was {status}:\n{output}")
        times.append(int(micros))
    if not times:
        raise Failed(f"h2load on {entry}: no request was answered:\n{output}")
    times.sort()
    return Paced(len(times) / (rate * seconds), percentile(times, 50) / 1000, percentile(times, 99) / 1000)


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest value that `percent` of the values do not exceed."""
    return ordered[max(0, -(-len(ordered) * int(percent * 10) // 1000) - 1)]


def _run(argv: list[str], seconds: int) -> str:
    result = subprocess.run(
        ["taskset", "--cpu-list", str(LOAD_CORE), *argv],
        capture_output=True, text=True, timeout=seconds + 30, check=False,
    )  # fmt: skip
    if result.returncode:
        raise Failed(f"{argv[0]} ended with status {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout
