"""Filters run in order, stop at an answer and pause where one waits; faults by percentage."""

import random
from dataclasses import dataclass, field

import pytest

from mesh.records import Workload
from sidecar.config.listener import Direction
from sidecar.config.route import Fault
from sidecar.filters.chain import Chain, Delay, Exchange, LocalReply, Paused, Verdict
from sidecar.filters.fault import FaultFilter
from sidecar.http.head import RequestHead, ResponseHead
from sidecar.telemetry.bindings import Downstream, Source
from sidecar.telemetry.record import RequestRecord


class _Request:
    def __init__(self) -> None:
        self.head = RequestHead(b"GET", b"/", b"a", [])
        downstream = Downstream(Direction.OUTBOUND, "", None, b"", Source(Workload()), True, True)
        self.record = RequestRecord(downstream, 0.0, b"GET", b"/", b"a", "HTTP/1.1")


@dataclass
class _Noting:
    name: str
    log: list[str]
    verdict: Verdict = None

    def on_request(self, exchange: Exchange) -> Verdict:
        self.log.append(self.name)
        return self.verdict

    def on_response(self, exchange: Exchange, head: ResponseHead) -> None:
        self.log.append("-" + self.name)


@dataclass
class _Log:
    entries: list[str] = field(default_factory=list)

    def chain(self, *verdicts: Verdict) -> Chain:
        return Chain([_Noting("abc"[at], self.entries, verdict) for at, verdict in enumerate(verdicts)])


def test_all_agree() -> None:
    log = _Log()
    chain = log.chain(None, None)
    assert chain.request(_Request()) is None
    chain.response(_Request(), ResponseHead(200, []))
    assert log.entries == ["a", "b", "-b", "-a"]


def test_one_answers() -> None:
    log = _Log()
    reply = LocalReply(403)
    assert log.chain(None, reply, None).request(_Request()) is reply
    assert log.entries == ["a", "b"]


def test_one_waits_and_the_next_goes_on() -> None:
    log = _Log()
    delay = Delay(1.0)
    chain = log.chain(None, delay, None)
    paused = chain.request(_Request())
    assert isinstance(paused, Paused)
    assert paused.verdict is delay
    assert log.entries == ["a", "b"]
    assert chain.request(_Request(), paused.at) is None
    assert log.entries == ["a", "b", "c"]


def test_an_empty_chain_is_falsy() -> None:
    assert not Chain()
    assert _Log().chain(None)


def _outcomes(fault: Fault, runs: int = 4_000) -> dict[tuple[bool, bool], int]:
    """How often (delayed, aborted) was the case."""
    each = FaultFilter(fault, random.Random(1))
    counts: dict[tuple[bool, bool], int] = {}
    for _ in range(runs):
        request = _Request()
        verdict = each.on_request(request)
        delayed = isinstance(verdict, Delay)
        reply = verdict.then if isinstance(verdict, Delay) else verdict
        assert (request.record.flags == "DI") is delayed
        counts[delayed, reply is not None] = counts.get((delayed, reply is not None), 0) + 1
    return counts


def test_aborts_as_envoy_does() -> None:
    verdict = FaultFilter(Fault(abort_status=418, abort_percent=100.0), random.Random(1)).on_request(_Request())
    assert isinstance(verdict, LocalReply)
    assert (verdict.status, verdict.body, verdict.flag) == (418, b"fault filter abort", "FI")
    assert verdict.details == "fault_filter_abort"


def test_delays_then_aborts() -> None:
    fault = Fault(delay_s=2.5, delay_percent=100.0, abort_status=503, abort_percent=100.0)
    verdict = FaultFilter(fault, random.Random(1)).on_request(_Request())
    assert isinstance(verdict, Delay)
    assert verdict.seconds == 2.5
    assert verdict.then is not None
    assert verdict.then.status == 503


@pytest.mark.parametrize(
    ("fault", "shares"),
    [
        pytest.param(Fault(delay_s=1, delay_percent=0.0), {(False, False): 1.0}, id="nothing per cent"),
        pytest.param(Fault(delay_percent=100.0, abort_percent=100.0), {(False, False): 1.0}, id="nothing to inject"),
        pytest.param(Fault(delay_s=1, delay_percent=25.0), {(True, False): 0.25, (False, False): 0.75}, id="delays"),
        pytest.param(
            Fault(abort_status=500, abort_percent=10.0), {(False, True): 0.1, (False, False): 0.9}, id="aborts"
        ),
        pytest.param(
            Fault(1, 50.0, 500, 50.0),
            {(True, True): 0.25, (True, False): 0.25, (False, True): 0.25, (False, False): 0.25},
            id="both are drawn apart",
        ),
    ],
)
def test_percentages(fault: Fault, shares: dict[tuple[bool, bool], float]) -> None:
    counts = _outcomes(fault)
    assert counts.keys() == shares.keys()
    for outcome, share in shares.items():
        # Four standard deviations of the binomial distribution.
        assert abs(counts[outcome] - 4_000 * share) <= 4 * (4_000 * share * (1 - share)) ** 0.5
