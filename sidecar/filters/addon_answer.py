"""What an addon script says of an upstream's answer: asked once, about its head and as much body as the rule allows."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.config.addon import Addon
from sidecar.filters.addon_messages import BadAnswer, answer_for, apply_answer, is_stream
from sidecar.filters.chain import Exchange, LocalReply
from sidecar.filters.failures import Failure
from sidecar.filters.held_answer import NO_BODY, Decision, HeldAnswer
from sidecar.http.head import ResponseHead
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


class ScriptHooks:
    """The hooks of one answer (HeldAnswer's AnswerHooks)."""

    __slots__ = ("_asked", "_call", "_over")

    def __init__(self, call: ScriptCall) -> None:
        self._call = call
        self._asked = False
        self._over = False

    def on_head(self, exchange: Exchange, head: ResponseHead) -> Decision:
        if head.upgrade is not None:
            self._call.end("the protocol was switched")
        elif is_stream(head) and exchange.head.method != b"HEAD":
            return self._ask(exchange, head, None, None)
        return None

    def limit(self, head: ResponseHead) -> int:
        return NO_BODY if self._asked else self._call.addon.max_body_bytes

    def on_body(self, exchange: Exchange, head: ResponseHead, body: bytes | None, held: HeldAnswer) -> Decision:
        return self._ask(exchange, head, body, held)

    def over(self, failure: Failure) -> None:
        self._over = True
        self._call.end(failure.details)

    def _ask(self, exchange: Exchange, head: ResponseHead, body: bytes | None, held: HeldAnswer | None) -> Decision:
        self._asked = True
        asked = self._call.ask(head, body)
        decided: asyncio.Future[LocalReply | None] = asked.get_loop().create_future()

        def told(answer: "asyncio.Future[tuple[str, Any]]") -> None:
            error = answer.exception()
            if self._over or exchange.is_over:
                decided.cancel()  # nobody waits, and the head may be another's to change
                return
            try:
                if error is not None:
                    raise error
                changed = _apply(answer.result(), head, shown=body is not None)
            except (AddonFailed, BadAnswer) as failure:
                decided.set_result(self._call.failed(str(failure)))
                return
            if changed is not None and changed != body and held is not None:
                held.replace_body(changed)
            decided.set_result(None)

        asked.add_done_callback(told)
        return decided


def _apply(answer: tuple[str, Any], head: ResponseHead, *, shown: bool) -> bytes | None:
    """Returns the new body, None where it was not shown. Raises BadAnswer."""
    kind, plain = answer
    if kind != "response":
        raise BadAnswer("the script's process answers another question")
    return apply_answer(plain, head, shown=shown)
