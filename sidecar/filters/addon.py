"""A mitmproxy addon script at work on the requests of a listener that its rule selects; never beyond its bounds.

The script runs in a process of its own. A request waits for it, up to the rule's time; what it is too slow for, breaks
or answers nonsense to goes on as it is or is answered 500, as the rule says.
"""

import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sidecar.config.addon import Addon
from sidecar.config.messages import Growth
from sidecar.config.tap import TapFilter
from sidecar.filters.addon_answer import ScriptCall, ScriptHooks
from sidecar.filters.addon_messages import BadAnswer, apply_request, is_stream, reply_of, request_for
from sidecar.filters.chain import Exchange, LocalReply, NeedBody, Request
from sidecar.filters.held_answer import HeldAnswer
from sidecar.http.head import ResponseHead
from sidecar.net.addon_channel import AddonChannel, AddonChannels, AddonFailed
from sidecar.tap.matching import Matcher

LOG_EVERY: Final = 1000
"""Failures of a script are logged at the first, and then at each so many: its own log has the rest."""

_NAMES: Final = ("requests", "answered", "failures")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class AddonCounts:
    """Of one rule, over changes of its configuration."""

    requests: int = 0
    """That met the script."""
    answered: int = 0
    """By the script, instead of an upstream."""
    failed: int = 0
    """Requests and answers for which it was too slow, or wrong, or not there."""
    reported: tuple[int, int, int] = (0, 0, 0)

    def growth(self, labels: tuple[tuple[str, str], ...]) -> list[Growth]:
        """Since the last call."""
        now = self.requests, self.answered, self.failed
        by = [here - before for here, before in zip(now, self.reported, strict=True)]
        self.reported = now
        return [
            Growth(f"remora_addon_{name}_total", labels, each) for name, each in zip(_NAMES, by, strict=True) if each
        ]


class AddonFilter:
    """One rule on one route. `channel` None: the sidecar runs no scripts, and every one fails."""

    __slots__ = ("_addon", "_body_limit", "_channel", "_counts", "_hosts", "_matcher", "_routes")

    def __init__(self, addon: Addon, channel: AddonChannel | None, counts: AddonCounts, rng: random.Random) -> None:
        self._addon = addon
        self._channel = channel
        self._counts = counts
        self._routes = frozenset(addon.routes)
        self._hosts = [Matcher(TapFilter(headers=((":authority", host),)), rng) for host in addon.hosts]
        self._matcher = Matcher(
            TapFilter(
                path=addon.path,
                methods=addon.methods,
                headers=addon.headers,
                sample_percent=addon.sample_percent,
            ),
            rng,
        )

    def on_request(self, exchange: Exchange) -> NeedBody | None:
        if not self._wants(exchange):
            return None
        head = exchange.head
        if not head.target:
            return None  # a CONNECT is no message that a script could read or change
        # What may never end is not waited for, and what is a conversation must not be.
        limit = -1 if head.upgrade is not None or is_stream(head) else self._addon.max_body_bytes
        return NeedBody(limit, lambda body: self._ask(exchange, body))

    def on_response(self, request: Request, head: ResponseHead) -> None:
        """What comes from upstream has met the script already; what is the proxy's own does not."""

    def _wants(self, exchange: Exchange) -> bool:
        target = exchange.record.target
        if self._routes and (target is None or target.route not in self._routes):
            return False
        head = exchange.head
        if self._hosts and not any(host.wants(head) for host in self._hosts):
            return False
        return self._matcher.wants(head)

    async def _ask(self, exchange: Exchange, body: bytes | None) -> LocalReply | None:
        addon = self._addon
        channel = self._channel
        head = exchange.head
        record = exchange.record
        self._counts.requests += 1
        if channel is None:
            return self.failed("the sidecar runs no addon scripts (--addons)")
        route = record.target.route if record.target is not None else ""
        number = channel.begin()
        try:
            message = request_for(head, body, record.downstream.remote, route)
            kind, plain = await channel.call(number, "request", message, addon.timeout_s)
            if exchange.is_over:
                channel.end(number, "the client is gone")
                return None
            if kind == "response":
                reply = reply_of(plain, addon.name)
                self._counts.answered += 1
                return reply
            changed = apply_request(plain, head, shown=body is not None)
        except (AddonFailed, BadAnswer) as error:
            channel.end(number, None)
            return self.failed(str(error))
        if changed is not None and changed != body:
            exchange.replace_body(changed)
        hooks = ScriptHooks(ScriptCall(channel, number, addon, self.failed))
        exchange.intercept(lambda inner: HeldAnswer(inner, exchange, hooks))
        return None

    def failed(self, why: str) -> LocalReply | None:
        """Count it. None: the rule lets it pass."""
        counts = self._counts
        if counts.failed % LOG_EVERY == 0:
            log.warning("addon %s (%s) failed: %s", self._addon.name, self._addon.script, why)
        counts.failed += 1
        if self._addon.fail_open:
            return None
        return LocalReply(500, b"addon failed", details=f"addon_error{{{self._addon.name}}}")


class AddonRules:
    """The addon rules of a worker: their channels and counts, whatever configuration names them at the moment."""

    def __init__(self, channels: AddonChannels, rng: random.Random) -> None:
        self.channels = channels
        self._rng = rng
        self._counts: dict[str, AddonCounts] = {}

    def filters(self, addons: Iterable[Addon]) -> list[AddonFilter]:
        """For one route of a listener that has these."""
        return [
            AddonFilter(
                addon, self.channels.of(addon.script), self._counts.setdefault(addon.name, AddonCounts()), self._rng
            )
            for addon in addons
        ]

    def growth(self) -> list[Growth]:
        """Counters that grew since the last call."""
        found: list[Growth] = []
        for name, counts in self._counts.items():
            found += counts.growth((("addon", name),))
        return found
