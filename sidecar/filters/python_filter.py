"""One route's use of a filter that users wrote: which requests meet it, in what order its hooks come, and what becomes
of a failure."""

import asyncio
from collections.abc import Callable
from typing import Any

from sidecar.config.python_filter import FilterMatch, PythonFilter
from sidecar.filters.chain import Exchange, Filter, LocalReply, NeedBody, Request
from sidecar.filters.failures import Failure
from sidecar.filters.held_answer import NO_BODY, Decision, HeldAnswer
from sidecar.filters.python_live import FilterFailed, LiveFilter, Outcome
from sidecar.filters.python_messages import Request as UserRequest
from sidecar.filters.python_messages import Response as UserResponse
from sidecar.filters.python_messages import host_of
from sidecar.http.head import ResponseHead
from sidecar.telemetry.record import RequestRecord


class Selection:
    """Which requests of a route meet the filter. By what the client sent: other filters' changes do not matter."""

    __slots__ = ("_all", "_hosts", "_prefixes", "_suffixes")

    def __init__(self, match: FilterMatch) -> None:
        self._hosts = frozenset(host.encode() for host in match.hosts if not host.startswith("*"))
        self._suffixes = tuple(host[1:].encode() for host in match.hosts if host.startswith("*."))
        self._prefixes = tuple(prefix.rstrip("/").encode() for prefix in match.path_prefixes)
        any_host = not match.hosts or "*" in match.hosts
        self._all = any_host and not match.path_prefixes
        if any_host:
            self._suffixes = (b"",)

    def takes(self, record: RequestRecord) -> bool:
        if self._all:
            return True
        host = host_of(record.authority)
        if host not in self._hosts and not host.endswith(self._suffixes):
            return False
        if not self._prefixes:
            return True
        path = record.url.partition(b"?")[0]
        return any(path.startswith(prefix) and path[len(prefix) :][:1] in (b"", b"/") for prefix in self._prefixes)


def filters_of(live: LiveFilter, route: str, *, rewritten: bool) -> list[Filter]:
    """What a route's chain gets of a filter: nothing, if its rule names other routes. `rewritten`: the route changes
    paths itself."""
    match = live.config.match
    if match.routes and route not in match.routes:
        return []
    selection = Selection(match)
    found: list[Filter] = [HeadHooks(live, selection, rewritten)]
    if "on_request_body" in live.hooks:
        found.append(BodyHook(live, selection, rewritten))
    return found


class HeadHooks:
    """Calls `on_request`, and sees that the answer's hooks come."""

    __slots__ = ("_answers", "_live", "_own", "_rewritten", "_sees_replies", "_selection")

    def __init__(self, live: LiveFilter, selection: Selection, rewritten: bool) -> None:
        self._live = live
        self._selection = selection
        self._rewritten = rewritten
        self._own = f"{{{live.config.name}}}"
        hooks = live.hooks
        self._answers = "on_response" in hooks or "on_response_body" in hooks
        # A reply is made and sent in one go.
        self._sees_replies = (
            "on_response" in hooks and "on_response" not in live.waits and "on_response_body" not in hooks
        )

    def on_request(self, exchange: Exchange) -> "Outcome | asyncio.Future[Outcome]":
        if not self._selection.takes(exchange.record):
            return None
        live = self._live
        if self._answers:
            make: Callable[..., HeldAnswer] = HeldAnswer
            hooks = Answers(live, self._rewritten)
            exchange.intercept(lambda inner: make(inner, exchange, hooks))
        if "on_request" not in live.hooks:
            return None
        request = UserRequest(exchange.head, exchange.record, rewritten=self._rewritten)
        saved = _saved(live.config, exchange)
        return _decide(live, exchange, saved, request.close, "on_request", request)

    def on_response(self, request: Request, head: ResponseHead) -> None:
        record = request.record
        # Upstreams' answers come by way of HeldAnswer, and its own replies are no news to it.
        if not self._sees_replies or record.details == "via_upstream" or record.details.endswith(self._own):
            return
        if not self._selection.takes(record):
            return
        shown = UserRequest(request.head, record, rewritten=self._rewritten)
        shown.close()
        response = UserResponse(head, record)
        headers, status = head.headers.copy(), head.status
        try:
            outcome = self._live.call("on_response", shown, response)
            if isinstance(outcome, asyncio.Future):
                outcome.cancel()
            if outcome is not None:
                # There is a reply already, and no waiting for another: the filter's is as good as none.
                self._live.counts.failed("exception")
        except FilterFailed:
            head.headers[:] = headers
            head.status = status
        response.close()


class BodyHook:
    """Calls `on_request_body`."""

    __slots__ = ("_live", "_rewritten", "_selection")

    def __init__(self, live: LiveFilter, selection: Selection, rewritten: bool) -> None:
        self._live = live
        self._selection = selection
        self._rewritten = rewritten

    def on_request(self, exchange: Exchange) -> NeedBody | None:
        head = exchange.head
        # What may go on for ever is not waited for: a tunnel's bytes are no body.
        if head.upgrade is not None or head.method == b"CONNECT" or not self._selection.takes(exchange.record):
            return None
        return NeedBody(self._live.config.max_body_bytes, lambda body: self._call(exchange, body))

    def on_response(self, request: Request, head: ResponseHead) -> None:
        """Nothing of the answer is this hook's."""

    def _call(self, exchange: Exchange, body: bytes | None) -> "Outcome | asyncio.Future[Outcome]":
        live = self._live
        if body is None:
            live.counts.failed("body_too_large")
            too_large = LocalReply(
                413, b"Payload Too Large", details=f"request_payload_too_large{{{live.config.name}}}"
            )
            return None if live.config.fail_open else too_large
        request = UserRequest(exchange.head, exchange.record, rewritten=self._rewritten)
        request.open_body(live.config.max_body_bytes)

        def went_on() -> None:
            request.close()
            changed = request.new_body()
            if changed is not None:
                exchange.replace_body(changed)

        return _decide(live, exchange, _saved(live.config, exchange), went_on, "on_request_body", request, body)


class Answers:
    """The hooks of one answer (HeldAnswer's AnswerHooks)."""

    __slots__ = ("_live", "_rewritten")

    def __init__(self, live: LiveFilter, rewritten: bool) -> None:
        self._live = live
        self._rewritten = rewritten

    def on_head(self, exchange: Exchange, head: ResponseHead) -> Decision:
        if "on_response" not in self._live.hooks:
            return None
        request, response = self._shown(exchange, head)
        return _decide(self._live, exchange, _saved_answer(head), response.close, "on_response", request, response)

    def limit(self, head: ResponseHead) -> int:
        return self._live.config.max_body_bytes if "on_response_body" in self._live.hooks else NO_BODY

    def on_body(self, exchange: Exchange, head: ResponseHead, body: bytes | None, held: HeldAnswer) -> Decision:
        live = self._live
        if body is None:
            live.counts.failed("body_too_large")
            return None if live.config.fail_open else _failure(live.config)
        request, response = self._shown(exchange, head)
        response.open_body(live.config.max_body_bytes)

        def went_on() -> None:
            response.close()
            changed = response.new_body()
            if changed is not None:
                held.replace_body(changed)

        return _decide(live, exchange, _saved_answer(head), went_on, "on_response_body", request, response, body)

    def over(self, failure: Failure) -> None:
        """The request's hooks have been told all that they hear of it."""

    def _shown(self, exchange: Exchange, head: ResponseHead) -> tuple[UserRequest, UserResponse]:
        request = UserRequest(exchange.head, exchange.record, rewritten=self._rewritten)
        request.close()
        return request, UserResponse(head, exchange.record)


def _saved(config: PythonFilter, exchange: Exchange) -> Callable[[], None] | None:
    """Undoes what a filter changed before it failed. Only of use where the request then goes on."""
    if not config.fail_open:
        return None
    head = exchange.head
    headers, target = head.headers.copy(), head.target

    def undo() -> None:
        head.headers[:] = headers
        head.target = target

    return undo


def _saved_answer(head: ResponseHead) -> Callable[[], None]:
    headers, status = head.headers.copy(), head.status

    def undo() -> None:
        head.headers[:] = headers
        head.status = status

    return undo


def _decide(
    live: LiveFilter,
    exchange: Exchange,
    undo: Callable[[], None] | None,
    went_on: Callable[[], None],
    hook: str,
    message: UserRequest,
    *more: Any,
) -> "Outcome | asyncio.Future[Outcome]":
    """Call the hook. `went_on` comes exactly once, before the message goes on or is given up."""
    try:
        outcome = live.call(hook, message, *more)
    except FilterFailed:
        return _gave_up(live.config, undo, message, *more)
    if not isinstance(outcome, asyncio.Future):
        went_on()
        return outcome
    decided: asyncio.Future[Outcome] = outcome.get_loop().create_future()

    def done(waited: "asyncio.Future[Outcome]") -> None:
        if waited.cancelled():
            decided.cancel()
        elif waited.exception() is not None:
            # Whoever waited may be gone, and the head another's to change.
            decided.set_result(_gave_up(live.config, None if exchange.is_over else undo, message, *more))
        else:
            went_on()
            decided.set_result(waited.result())

    outcome.add_done_callback(done)
    return decided


def _gave_up(
    config: PythonFilter, undo: Callable[[], None] | None, message: UserRequest, *more: Any
) -> LocalReply | None:
    for each in (message, *more):
        if isinstance(each, UserRequest | UserResponse):
            each.close()
    if undo is not None:
        undo()
    return None if config.fail_open else _failure(config)


def _failure(config: PythonFilter) -> LocalReply:
    """Envoy's answer for a Wasm filter that failed closed."""
    return LocalReply(503, details=f"python_filter_failed{{{config.name}}}")
