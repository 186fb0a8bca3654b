"""The load: wrk and h2load as fast as it gets, h2load at a fixed rate, our own for bytes. All pinned away from the
proxies."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from tests.bench.cases import LOAD_CORE, Case, Speech, Work
from tests.bench.processes import Failed

_SCRIPT = Path(__file__).with_name("requests.lua")
_H2LOAD_TICK_S = 0.01
"""h2load paces each connection by a timer of this resolution: at a higher rate it sends bursts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where requests go in, and whom they are for."""

    port: int
    authority: str


@dataclass(frozen=True, slots=True)
class Saturated:
    """A run with every connection busy."""

    count: int
    """Requests, or messages; of bulk, bytes."""
    seconds: float

    @property
    def per_s(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True, slots=True)
class Paced:
    """A run at a fixed rate."""

    achieved: float
    """Share of the wanted requests that were answered, 0 to 1; less than 1 where the machine was too busy."""
    p50_ms: float
    p99_ms: float


def saturate(entry: Entry, case: Case, seconds: int, directory: Path, message: Path) -> Saturated:
    """Raises Failed if a single answer was not 200, a byte was lost or a connection broke: such a figure would mean
    nothing. `message`: what gRPC requests carry."""
    if case.speech is Speech.HTTP1:
        return _wrk(entry, case, seconds)
    if case.speech.http2:
        output = _h2load(entry, case, seconds, directory, message)
        counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output)
        if not counts or counts[1] != counts[2] or int(counts[3]) + int(counts[4]) or not int(counts[2]):
            raise Failed(f"h2load on {entry}:\n{output}")
        return Saturated(int(counts[2]), seconds)
    argv = [str(entry.port), f"--connections={case.connections}", f"--seconds={seconds}"]
    if case.work is Work.ECHO:
        argv.append(f"--message-bytes={case.body_bytes}")
    figures = json.loads(_run([sys.executable, "-P", "-m", "tests.bench.stream", case.work.value, *argv], seconds))
    return Saturated(int(figures["messages" if case.work is Work.ECHO else "bytes"]), figures["seconds"])


def _wrk(entry: Entry, case: Case, seconds: int) -> Saturated:
    output = _run(
        [
            "wrk",
            "-t1",
            f"-c{case.connections}",
            f"-d{seconds}s",
            "-s",
            str(_SCRIPT),
            f"http://127.0.0.1:{entry.port}",
            "--",
            entry.authority,
            case.path,
        ],
        seconds,
    )
    wrong = re.search(r"Non-2xx.*|Socket errors.*", output)
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s)", output)
    if wrong or not total:
        raise Failed(f"wrk on {entry}: {wrong[0] if wrong else output}")
    return Saturated(int(total[1]), float(total[2]) / (1000 if total[3] == "ms" else 1))


def pace(entry: Entry, case: Case, seconds: int, rate: float, directory: Path, message: Path) -> Paced:
    """`rate` requests per second, spread over the connections. Times are from sending a request to its answer's end.

    Raises Failed if an answer was not 200.
    """
    log = directory / "h2load.log"
    log.unlink(missing_ok=True)
    clients = max(case.connections, ceil(rate * _H2LOAD_TICK_S))
    flags = (f"--rps={rate / clients:g}", f"--log-file={log}")
    output = _h2load(entry, case, seconds, directory, message, *flags, clients=clients)
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


def _h2load(
    entry: Entry, case: Case, seconds: int, directory: Path, message: Path, *flags: str, clients: int | None = None
) -> str:
    urls = directory / "urls"
    base = f"http://127.0.0.1:{entry.port}{case.path}"
    if case.speech is Speech.GRPC:
        urls.write_text(base + "\n")
        more = ["--header=content-type: application/grpc", "--header=te: trailers", "--header=grpc-timeout: 10S",
                "--header=user-agent: grpc-python/1.76.0 grpc-c/51.0.0 (linux)", f"--data={message}"]  # fmt: skip
    else:
        urls.write_text("".join(f"{base}?user={i * 7919}&page={i % 17}\n" for i in range(64)))
        more = ["--header=user-agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/131.0", "--header=accept: */*",
                "--header=cookie: session=0123456789abcdef0123456789abcdef; theme=dark"]  # fmt: skip
        if not case.speech.http2:
            more.append("--h1")
    return _run(
        [
            "h2load",
            f"--clients={clients or case.connections}",
            f"--max-concurrent-streams={case.streams}",
            f"--duration={seconds}",
            f"--input-file={urls}",
            f"--header=:authority: {entry.authority}",
            *more,
            *flags,
        ],
        seconds,
    )


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest value that `percent` of the values do not exceed."""
    return ordered[max(0, -(-len(ordered) * int(percent * 10) // 1000) - 1)]


def _run(argv: list[str], seconds: int) -> str:
    command = ["taskset", "--cpu-list", str(LOAD_CORE), *argv]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(argv)} did not end") from None
    if result.returncode:
        raise Failed(f"{argv[0]} ended with status {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout
