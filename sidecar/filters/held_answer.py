"""An upstream's answer on its way through a user's filter or script: held until that has seen what it asked for.

Between the router and whoever gets its answer. It knows nothing of hooks: `AnswerHooks` decide.
"""

import asyncio
from typing import Final, Protocol

from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.filters.chain import Exchange, LocalReply
from sidecar.filters.client import Client
from sidecar.filters.failures import Failure
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import Header, ResponseHead

NO_BODY: Final = -1
"""As a limit: the filter looks at heads alone."""

Decision = LocalReply | asyncio.Future[LocalReply | None] | None


class AnswerHooks(Protocol):
    """What is asked about an answer. Neither raises; futures do not fail."""

    def on_head(self, exchange: Exchange, head: ResponseHead) -> Decision:
        """The head is there."""

    def limit(self, head: ResponseHead) -> int:
        """How much of a body to gather, or NO_BODY."""

    def on_body(self, exchange: Exchange, head: ResponseHead, body: bytes | None, held: "HeldAnswer") -> Decision:
        """The body is there; None: it is longer than the limit. `held.replace_body` is for before the decision."""

    def over(self, failure: Failure) -> None:
        """There is no answer, or no more of it, and it had not passed yet."""


class HeldAnswer(Client):
    """States: deciding about the head, gathering, deciding about the body, passing; over when nobody waits any more."""

    __slots__ = (
        "_answer", "_data", "_deciding", "_ended", "_exchange", "_hooks", "_inner", "_limit", "_passing", "_shut",
        "_size", "_trailers",
    )  # fmt: skip

    def __init__(self, inner: Client, exchange: Exchange, hooks: AnswerHooks) -> None:
        self.head = exchange.head
        self.record = exchange.record
        self._inner = inner
        self._exchange = exchange
        self._hooks = hooks
        self._answer: ResponseHead | None = None
        self._data: list[bytes] = []
        self._size = 0
        self._limit = NO_BODY
        self._trailers: list[Header] | None = None
        self._ended = False
        self._shut = False
        self._deciding = False
        self._passing = False

    def sending(self, endpoint: LiveEndpoint, attempt: int) -> FieldLines:
        return self._inner.sending(endpoint, attempt)

    def informed(self, head: ResponseHead) -> None:
        self._inner.informed(head)

    def hold_client(self, held: bool) -> None:
        self._inner.hold_client(held)

    # the answer

    def answered(self, head: ResponseHead) -> None:
        self._answer = head
        decision = self._hooks.on_head(self._exchange, head)
        if isinstance(decision, asyncio.Future):
            self._wait(decision, False)
        else:
            self._head_decided(decision)

    def answer_data(self, data: bytes) -> None:
        if self._passing:
            self._inner.answer_data(data)
            return
        self._data.append(data)
        self._size += len(data)
        if not self._deciding and self._size > self._limit:
            self._ask(None)

    def answer_trailers(self, trailers: list[Header]) -> None:
        if self._passing:
            self._inner.answer_trailers(trailers)
        else:
            self._trailers = trailers

    def answer_shut(self) -> None:
        if self._passing:
            self._inner.answer_shut()
        else:
            self._shut = True

    def answer_ended(self) -> None:
        if self._passing:
            self._inner.answer_ended()
            return
        self._ended = True
        if not self._deciding:
            self._ask(b"".join(self._data))

    def flush(self) -> None:
        if self._passing:
            self._inner.flush()

    def failed(self, failure: Failure) -> None:
        if not self._passing:
            self._hooks.over(failure)
        self._passing = True  # what the filter may still say comes too late
        self._data = []
        self._inner.failed(failure)

    # the filter

    def replace_body(self, body: bytes) -> None:
        """The whole body, from now on."""
        answer = self._answer
        assert answer is not None
        if not self._bodyless(answer):
            self._data = [body] if body else []
            answer.length = len(body)

    def _bodyless(self, answer: ResponseHead) -> bool:
        """Whatever length the head declares."""
        return self.head.method == b"HEAD" or answer.status in (204, 304)

    def _wait(self, decision: "asyncio.Future[LocalReply | None]", about_body: bool) -> None:
        self._deciding = True
        if not self._ended:
            self._exchange.hold_upstream(True)
        decision.add_done_callback(lambda done: self._told(done, about_body))

    def _told(self, decision: "asyncio.Future[LocalReply | None]", about_body: bool) -> None:
        self._deciding = False
        if decision.cancelled() or self._passing or self._exchange.is_over:
            self._drop()
            return
        reply = decision.result()
        if about_body:
            self._body_decided(reply)
        else:
            self._head_decided(reply)
        if not self._ended:
            self._go_on()

    def _go_on(self) -> None:
        if not self._deciding:
            self._exchange.hold_upstream(False)
        if self._passing:
            self._inner.flush()

    def _head_decided(self, reply: LocalReply | None) -> None:
        answer = self._answer
        assert answer is not None
        if reply is not None:
            self._stop(reply)
            return
        limit = self._limit = NO_BODY if answer.upgrade is not None else self._hooks.limit(answer)
        if limit == NO_BODY:
            self._pass()
        elif (answer.length > limit and not self._bodyless(answer)) or self._size > limit:
            self._ask(None)
        elif self._ended:
            self._ask(b"".join(self._data))

    def _ask(self, body: bytes | None) -> None:
        answer = self._answer
        assert answer is not None
        decision = self._hooks.on_body(self._exchange, answer, body, self)
        if isinstance(decision, asyncio.Future):
            self._wait(decision, True)
        else:
            self._body_decided(decision)

    def _body_decided(self, reply: LocalReply | None) -> None:
        if reply is not None:
            self._stop(reply)
        else:
            self._pass()

    def _stop(self, reply: LocalReply) -> None:
        """Not at once: the router may be in the middle of telling of the answer."""
        self._deciding = True
        asyncio.get_running_loop().call_soon(self._stop_now, reply)

    def _stop_now(self, reply: LocalReply) -> None:
        if self._passing or self._exchange.is_over:
            self._drop()
            return
        self._drop()
        self._exchange.stop(reply)

    def _drop(self) -> None:
        """Nobody waits for what there is."""
        self._deciding = True
        self._data = []

    def _pass(self) -> None:
        """From now on everything goes straight on. Whoever has told of the answer flushes."""
        self._passing = True
        inner = self._inner
        answer = self._answer
        assert answer is not None
        data, self._data = self._data, []
        inner.answered(answer)
        for each in data:
            inner.answer_data(each)
        if self._trailers is not None:
            inner.answer_trailers(self._trailers)
        if self._shut:
            inner.answer_shut()
        if self._ended:
            inner.answer_ended()
