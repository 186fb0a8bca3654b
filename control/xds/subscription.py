"""One ADS stream, state of the world, without I/O: requests and snapshots go in, responses come out of `next`.

Follows Envoy's xDS protocol page. A request with an old nonce is ignored. Types are sent one after another in push
order, each when the one before has been taken, so that no route arrives before its cluster. A client that answers late
is waited for `GATE_S` only. Trust (SDS) waits for nobody.

Of endpoints and routes an answer has what the client lacks: what changed since it was last sent something, what it asks
for anew, and what it was sent and has not taken yet, be it that it refused it or that it has not said anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from control.generate.names import assignment_name
from control.generate.resources import Resources, Selection
from control.generate.types import Snapshot
from control.xds.bridge import bridge
from control.xds.messages import CDS, EDS, LDS, ORDER, PARTIAL, RDS, SDS, SHORT, WILDCARDS, Request, Response
from control.xds.versions import version_of

GATE_S = 0.5
"""How long a type waits for the one before it to be acknowledged."""

REPEAT_S = 1.0
"""A client that asks again for what it has gets it again, at most this often."""

_RELIES_ON: Mapping[str, tuple[str, ...]] = {LDS: (CDS,), RDS: (CDS, LDS)}
"""Types that are held back while the client refuses another that they rely on. Endpoints and trust never are."""


class UnknownType(ValueError):
    """The client asks for a type that we do not serve."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client runs this version of a type."""

    type_url: str
    version: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The client does not take this version and keeps what it had."""

    type_url: str
    version: str
    message: str


Event = Accepted | Refused


@dataclass(slots=True)
class TypeState:
    """Where the client is with one type."""

    names: frozenset[str] | None
    """Asked for; None for everything."""
    sent: str | None = None
    """The last version sent, or held since an earlier stream."""
    acked: str | None = None
    refused: str | None = None
    """The last version sent, if the client refused it."""
    nonce: str = ""
    in_flight: bool = False
    sent_at: float = 0.0
    again: bool = False
    """To be sent as a whole although the version is the same."""
    anew: frozenset[str] = frozenset()
    """Names to be sent although their content is the same."""
    given: Resources | None = None
    """What it was sent of, last; None: nothing, or nobody knows. Besides `lacked`, it has all that it named of it."""
    lacked: frozenset[str] | None = frozenset()
    """Names that changed in what was sent and that it has not taken yet; None: all."""
    repeated_at: float = float("-inf")

    @property
    def wanted(self) -> bool:
        """False once the client has left every name."""
        return self.names is None or bool(self.names)

    def lacks(self, target: Resources) -> frozenset[str] | None:
        """The names that an answer of `target` must have; None: all."""
        if self.again or self.given is None or self.lacked is None:
            return None
        return target.changed_since(self.given) | self.lacked | self.anew


class Subscription:
    """The state of one stream. `name` makes its nonces differ from other streams'."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._types: dict[str, TypeState] = {}
        self._target: Snapshot | None = None
        """What the client is to have next."""
        self._final: Snapshot | None = None
        """What it is to have in the end; another than the target while a bridge is crossed."""
        self._clusters_sent: Snapshot | None = None
        """The target whose clusters were sent last."""
        self._taken: Snapshot | None = None
        """The same, of those that the client took."""
        self._endpoints_awaited_until = float("-inf")
        self._clusters_arrived = True
        """Whether the client has shown, by whatever it said of endpoints, that the clusters sent last have arrived."""
        self._endpoints_followed = False
        """Whether endpoints have been sent since."""

    @property
    def types(self) -> Mapping[str, TypeState]:
        """By type URL; those that the client asked for."""
        return self._types

    @property
    def synced(self) -> bool:
        """Whether the client runs all that it asked for of the last offered snapshot, and asked for something."""
        return bool(self._types) and self._target is not None and self._target is self._final and self._settled()

    @property
    def refused(self) -> bool:
        """Whether the client refuses a part of what it is to have now."""
        return any(self._is_refused(url, state) for url, state in self._wanted())

    def offer(self, snapshot: Snapshot) -> None:
        """From now on the client is to have this."""
        self._final = snapshot
        clusters = self._types.get(CDS)
        # The client's routes may use any cluster of what it was last on its way to, unless it turned back.
        self._aim_from(self._taken if clusters is not None and clusters.refused is not None else self._target)

    def _aim_from(self, base: Snapshot | None) -> None:
        """Choose the target, for a client that may still route to `base`'s clusters."""
        assert self._final is not None
        routed = CDS in self._types and not self._runs_routes_of(self._final)
        self._aim_at(bridge(base, self._final) if base is not None and routed else self._final)

    def _aim_at(self, target: Snapshot) -> None:
        self._target = target
        for url, state in self._types.items():
            # Whoever has this version, be it from an earlier stream, lacks nothing of it.
            if state.sent == version_of(target, url, state.names):
                state.given = target.resources[url]

    def _runs_routes_of(self, snapshot: Snapshot) -> bool:
        states = ((url, self._types.get(url)) for url in (LDS, RDS))
        return all(
            state is None or (state.acked == version_of(snapshot, url, state.names) and not state.in_flight)
            for url, state in states
        )

    def receive(self, request: Request, now: float) -> Event | None:
        """Take a request. Raises UnknownType."""
        url = request.type_url
        if url not in SHORT:
            raise UnknownType(f"unknown type URL {url[:200]!r}; known are {', '.join(ORDER)}")
        state = self._types.get(url)
        if state is None:
            return self._first(request)
        if request.nonce != state.nonce:
            return None  # about an answer that has been overtaken; the client will speak of the newer one
        return self._answer(request, state, now)

    def _first(self, request: Request) -> Event | None:
        url = request.type_url
        state = self._types[url] = TypeState(names=_wish(request))
        if request.version and request.error is None:
            # It comes from an earlier stream, perhaps of an earlier control plane, and has this. If that is what it is
            # to have, nothing needs to be sent.
            state.sent = state.acked = request.version
            if self._target is not None and state.sent == version_of(self._target, url, state.names):
                state.given = self._target.resources[url]
            return Accepted(request.type_url, request.version)
        return None

    def _answer(self, request: Request, state: TypeState, now: float) -> Event | None:
        url, had, wish = request.type_url, state.names, _wish(request)
        was_in_flight, was_due = state.in_flight, self._target is not None and self._is_due(url, state)
        # Names may change while an answer is being put to use; then the version is still the one before. Only the
        # answer's own version says that it serves.
        taken = request.version == state.sent and (was_in_flight or state.acked != state.sent)
        event: Event | None = None
        if url == EDS and was_in_flight and self._endpoints_followed:
            self._clusters_arrived = True
        state.in_flight = False
        if request.error is not None:
            state.refused = state.sent
            event = Refused(url, state.sent or "", request.error) if was_in_flight else None
            if url == CDS and self._final is not None:
                self._aim_from(self._taken)  # what it refused is nothing to keep
        elif taken:
            state.acked, state.refused, state.lacked = state.sent, None, frozenset()
            event = Accepted(url, state.sent or "")
            if url == CDS:
                self._endpoints_awaited_until = now + GATE_S
                self._taken = self._clusters_sent
        state.names = wish
        if wish != had:
            if wish is None or had is None:
                state.again = True
            elif more := wish - had:
                state.anew |= more
                self._clusters_arrived = self._clusters_arrived or url == EDS
            elif not was_due and self._target is not None and state.refused is None:
                # It wants less; what it holds of the rest is as it was, only the version is called differently.
                state.sent = state.acked = version_of(self._target, url, wish)
        elif not was_in_flight and not taken and request.error is None and now >= state.repeated_at + REPEAT_S:
            # The same again: a cluster that is warming up asks for endpoints that the client has, and Envoy waits.
            state.again, state.repeated_at = True, now
        return event

    def next(self, now: float) -> Response | None:
        """What to send now, if anything. Call it until it returns None."""
        if self._target is None:
            return None
        response = self._next_of_target(now)
        if response is None and self._target is not self._final and self._settled():
            assert self._final is not None
            self._aim_at(self._final)
            response = self._next_of_target(now)
        return response

    def _next_of_target(self, now: float) -> Response | None:
        held = False
        for url in ORDER:
            state = self._types.get(url)
            if state is None:
                continue
            waits = state.in_flight and now < state.sent_at + GATE_S
            if url == EDS:
                # What comes next need not wait for a client that has shown otherwise that the clusters have arrived:
                # some acknowledge only when everything is warm.
                if self._covers_endpoints():
                    blocked, self._endpoints_awaited_until = False, float("-inf")
                    held = held and not self._clusters_arrived
                else:
                    blocked = held = held or now < self._endpoints_awaited_until
            else:
                # A client that runs nothing of the type yet cannot lose a request to it, and may need it to begin.
                blocked = held and url != SDS and state.acked is not None
            if not blocked and not waits and self._is_due(url, state) and not self._lacks_support(url, state):
                return self._send(url, state, now)
            held = held or waits
        return None

    def _covers_endpoints(self) -> bool:
        assert self._target is not None
        asked = self._types[EDS].names
        return asked is None or self._target.resources[EDS].covered_by(asked)

    def _is_due(self, url: str, state: TypeState) -> bool:
        assert self._target is not None
        if not state.wanted:
            return False
        again = state.again or bool(state.anew)
        return again or state.sent != version_of(self._target, url, state.names)

    def _is_refused(self, url: str, state: TypeState) -> bool:
        if state.refused is None or self._target is None:
            return False
        return state.refused == version_of(self._target, url, state.names)

    def _lacks_support(self, url: str, state: TypeState) -> bool:
        # Again: for a client that has nothing of the type yet, some configuration is better than none.
        if state.acked is None:
            return False
        relied_on = ((other, self._types.get(other)) for other in _RELIES_ON.get(url, ()))
        return any(it is not None and self._is_refused(other, it) for other, it in relied_on)

    def _settled(self) -> bool:
        assert self._target is not None
        target = self._target
        return all(
            not state.in_flight
            and not state.again
            and not state.anew
            and state.acked == version_of(target, url, state.names)
            for url, state in self._wanted()
        )

    def _wanted(self) -> Iterator[tuple[str, TypeState]]:
        return ((url, state) for url, state in self._types.items() if state.wanted)

    def _send(self, url: str, state: TypeState, now: float) -> Response:
        assert self._target is not None
        target = self._target.resources[url]
        version = version_of(self._target, url, state.names)
        self._count += 1
        state.nonce = f"{self._name}.{self._count:x}"
        lacking = state.lacks(target)
        if url == EDS:
            self._endpoints_followed = True
        if url == CDS:
            self._clusters_sent, self._clusters_arrived, self._endpoints_followed = self._target, False, False
            if state.sent != version:
                self._warm_again(lacking)
        state.sent, state.sent_at = version, now
        state.in_flight, state.again, state.refused = True, False, None
        state.anew, state.given = frozenset(), target
        state.lacked = lacking
        return Response(url, version, state.nonce, _chosen(url, target, state.names, lacking))

    def _warm_again(self, changed: frozenset[str] | None) -> None:
        """A changed cluster warms up again and needs its endpoints again, changed or not."""
        endpoints = self._types.get(EDS)
        if endpoints is None:
            return
        if changed is None or endpoints.names is None:
            endpoints.again = True
        else:
            endpoints.anew |= {assignment_name(name) for name in changed} & endpoints.names

    def deadline(self, now: float) -> float | None:
        """When `next` may have something although nothing happened."""
        moments = [state.sent_at + GATE_S for state in self._types.values() if state.in_flight]
        moments.append(self._endpoints_awaited_until)
        return min((moment for moment in moments if moment > now), default=None)


def _chosen(url: str, target: Resources, names: frozenset[str] | None, lacking: frozenset[str] | None) -> Selection:
    """What an answer has of the target."""
    if url in PARTIAL and lacking is not None:
        return target.select(lacking if names is None else lacking & names)
    if names is None or target.covered_by(names):
        return target.everything()
    return target.select(names)


def _wish(request: Request) -> frozenset[str] | None:
    if request.type_url in WILDCARDS and (not request.names or "*" in request.names):
        return None
    return request.names
