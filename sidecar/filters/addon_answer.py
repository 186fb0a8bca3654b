"""An upstream's answer on its way through an addon script: gathered up to a bound, shown, changed, passed on."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.config.addon import Addon
from sidecar.filters.addon_messages import BadAnswer, answer_for, apply_answer, is_stream
from sidecar.filters.chain import Exchange, LocalReply
from sidecar.filters.client import Client
from sidecar.filters.failures import Failure
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import Header, ResponseHead
from sidecar.net.addon_channel import AddonChannel, AddonFailed


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """How to ask the script about the answer to a request that it has seen."""

    channel: AddonChannel
    number: int
    """The request's."""
    addon: Addon
    failed: Callable[[str], LocalReply | None]
    """Count a failure; the answer instead, or None to let things pass."""

    def ask(self, head: ResponseHead, body: bytes | None) -> "asyncio.Future[tuple[str, Any]]":
        return self.channel.call(self.number, "response", answer_for(head, body), self.addon.timeout_s)

    def end(self, why: str) -> None:
        self.channel.end(self.number, why)


class AddonAnswer(Client):
    """The router's Client before the exchange. States: gathering, asking, passing."""

    __slots__ = (
        "_answer",
        "_asked",
        "_call",
        "_data",
        "_ended",
        "_exchange",
        "_inner",
        "_limit",
        "_passing",
        "_size",
        "_trailers",
    )

    def __init__(self, inner: Client, exchange: Exchange, call: ScriptCall) -> None:
        self.head = exchange.head
        self.record = exchange.record
        self._inner = inner
        self._exchange = exchange
        self._call = call
        self._limit = call.addon.max_body_bytes
        self._answer: ResponseHead | None = None
        self._data: list[bytes] = []
        self._size = 0
        self._trailers: list[Header] | None = None
        self._ended = False
        self._asked = False
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
        if head.upgrade is not None:
            self._call.end("the protocol was switched")
            self._pass()
        elif (head.length > self._limit or is_stream(head)) and self.head.method != b"HEAD":
            self._ask(None)

    def answer_data(self, data: bytes) -> None:
        if self._passing:
            self._inner.answer_data(data)
            return
        self._data.append(data)
        self._size += len(data)
        if not self._asked and self._size > self._limit:
            self._ask(None)

    def answer_trailers(self, trailers: list[Header]) -> None:
        if self._passing:
            self._inner.answer_trailers(trailers)
        else:
            self._trailers = trailers

    def answer_shut(self) -> None:
        self._inner.answer_shut()

    def answer_ended(self) -> None:
        if self._passing:
            self._inner.answer_ended()
            return
        self._ended = True
        if not self._asked:
            self._ask(b"".join(self._data))

    def flush(self) -> None:
        if self._passing:
            self._inner.flush()

    def failed(self, failure: Failure) -> None:
        if not self._passing:
            self._call.end(failure.details)
        self._passing = True  # what the script may still say of it comes too late
        self._inner.failed(failure)

    # the script

    def _ask(self, body: bytes | None) -> None:
        answer = self._answer
        assert answer is not None
        self._asked = True
        if not self._ended:
            self._exchange.hold_upstream(True)
        self._call.ask(answer, body).add_done_callback(lambda done: self._told(done, body))

    def _told(self, told: "asyncio.Future[tuple[str, Any]]", body: bytes | None) -> None:
        answer = self._answer
        assert answer is not None
        error = told.exception()
        if self._exchange.is_over or self._passing:
            return
        try:
            if error is not None:
                raise error
            kind, plain = told.result()
            if kind != "response":
                raise BadAnswer("the script's process answers another question")
            changed = apply_answer(plain, answer, shown=body is not None)
        except (AddonFailed, BadAnswer) as failure:
            reply = self._call.failed(str(failure))
            if reply is not None:
                self._passing = True
                self._exchange.stop(reply)
                return
            changed = None
        if changed is not None and changed != body:
            self._data = [changed] if changed else []
            if self.head.method != b"HEAD":
                answer.length = len(changed)
        self._pass()

    def _pass(self) -> None:
        """From now on everything goes straight on."""
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
        if self._ended:
            inner.answer_ended()
        else:
            inner.flush()
            self._exchange.hold_upstream(False)
