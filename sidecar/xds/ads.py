"""Aggregated discovery, state of the world: what to ask, what to answer, what to serve. No I/O, no clock.

The stream's owner feeds in what happens and sends what it gets back. Beyond Envoy's protocol two things are promised:
an ACK is sent only when the workers serve what it acknowledges, and a configuration is handed out only whole, so that
no request meets a listener without routes or a route without its cluster, in whatever order resources arrive.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any

from sidecar.xds.configuration import Configuration, Missing, Resource, assemble, find_missing
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.rejected import Rejected

WARMING_S = 15.0
"""How long to wait for endpoints, routes and secrets that something refers to: Envoy's initial fetch timeout."""

CLUSTER_WAIT_S = 5.0
"""How long to wait for a cluster that a route names. It is either on its way, in the same push, or a mistake."""

MAX_REPORTED = 10
"""Rejected resources that one NACK describes; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Request:
    """A DiscoveryRequest to send. Without `error` and with a nonce it acknowledges `version`."""

    kind: Kind
    version: str
    nonce: str
    names: tuple[str, ...] = ()
    """Empty for the wildcard kinds."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: apply `configuration` (then say `applied` or `refused`), send `requests`."""

    configuration: Configuration | None = None
    requests: tuple[Request, ...] = ()


@dataclass(slots=True)
class _Update:
    """One or more responses of a kind that are not acknowledged yet."""

    version: str
    nonce: str | None
    """None: the stream that it belongs to is gone, nobody waits for an ACK."""
    resources: dict[str, Resource]
    whole: bool
    """It replaces everything before it."""

    def over(self, before: Mapping[str, Resource]) -> dict[str, Resource]:
        return dict(self.resources) if self.whole else {**before, **self.resources}

    def then(self, later: "_Update") -> "_Update":
        return _Update(later.version, later.nonce, later.over(self.resources), self.whole or later.whole)


@dataclass(slots=True)
class _Subscription:
    """One kind's state. `accepted`, then what is `flying` (with the workers), then what is `waiting`."""

    version: str = ""
    nonce: str = ""
    """Of the stream's latest response."""
    sent: frozenset[str] | None = None
    """Names of this stream's last request; None before the first."""
    renamed: bool = False
    """Names have been sent since the latest response; should the next one cross them, they had a stale nonce and the
    server passed over them."""
    accepted: dict[str, Resource] = field(default_factory=dict)
    flying: _Update | None = None
    waiting: _Update | None = None

    def candidate(self) -> Mapping[str, Resource]:
        """What would be if everything received were accepted."""
        resources: Mapping[str, Resource] = self.accepted
        for update in (self.flying, self.waiting):
            if update is not None:
                resources = update.over(resources)
        return resources


class Ads:
    """One node's subscriptions, over as many streams as it takes."""

    def __init__(
        self,
        *,
        gateway: bool = False,
        runtime: frozenset[str] = frozenset(),
        warming_s: float = WARMING_S,
        cluster_wait_s: float = CLUSTER_WAIT_S,
    ) -> None:
        """`runtime`: names of the runtime layers to ask for."""
        self._gateway = gateway
        self._runtime = runtime
        self._patience_s = dict.fromkeys(Kind, warming_s) | {Kind.CDS: cluster_wait_s}
        self._subscriptions = {kind: _Subscription() for kind in Kind}
        self._serving: Configuration | None = None
        self._missing_since: dict[Missing, float] = {}
        self._given_up: frozenset[Missing] = frozenset()
        self._proposed: Configuration | None = None

    @property
    def serving(self) -> Configuration | None:
        """What was applied last."""
        return self._serving

    @property
    def has_listeners(self) -> bool:
        """Whether the control plane has told the listeners, be they none, and they serve."""
        return self._subscriptions[Kind.LDS].version != ""

    @property
    def waiting_for(self) -> tuple[Missing, ...]:
        """What is referred to and was not sent, whether still waited for or given up."""
        return tuple(sorted(self._missing_since, key=lambda item: (item[0].name, item[1])))

    def accepted(self, kind: Kind) -> tuple[str, tuple[Resource, ...]]:
        """The acknowledged version and its resources."""
        subscription = self._subscriptions[kind]
        return subscription.version, tuple(subscription.accepted.values())

    def connected(self) -> list[Request]:
        """A new stream: ask again for everything, with the last versions and no nonce."""
        requests: list[Request] = []
        for kind, subscription in self._subscriptions.items():
            subscription.nonce = ""
            subscription.sent = None
            subscription.renamed = False
            for update in (subscription.flying, subscription.waiting):
                if update is not None:
                    update.nonce = None
            names = self._wanted(kind)
            if kind.wildcard or names:
                requests.append(self._ask(kind, names))
        return requests

    def received(self, type_url: str, version: str, nonce: str, resources: Iterable[Any]) -> list[Request]:
        """A response. A bad one is refused at once; a good one is asked about with `step`."""
        try:
            kind = Kind(type_url)
        except ValueError:
            return []  # never asked for; there is no subscription that could refuse it
        subscription = self._subscriptions[kind]
        subscription.nonce = nonce
        decoded, rejections = self._decode(kind, version, resources)
        if rejections:
            subscription.renamed = False  # a NACK carries all names
            return [self._nack(kind, nonce, _describe(rejections))]
        if not kind.wildcard:
            wanted = self._wanted(kind)
            decoded = {name: resource for name, resource in decoded.items() if name in wanted}
        update = _Update(version, nonce, decoded, kind.wildcard)
        waiting = subscription.waiting
        subscription.waiting = update if waiting is None else waiting.then(update)
        return [*self._subscribe(), *self._resubscribe(kind)]

    def step(self, now: float) -> Step:
        """What the responses so far amount to. `now` is a monotonic clock's reading."""
        if self._proposed is not None:
            return Step()
        candidates = {kind: subscription.candidate() for kind, subscription in self._subscriptions.items()}
        missing = find_missing(candidates)
        self._missing_since = {item: self._missing_since.get(item, now) for item in missing}
        given_up = frozenset(item for item, since in self._missing_since.items() if self._patience(item, since) <= now)
        if missing - given_up:
            return Step()
        news = any(subscription.waiting is not None for subscription in self._subscriptions.values())
        if not news and given_up == self._given_up:
            return Step()
        self._given_up = given_up
        for subscription in self._subscriptions.values():
            subscription.flying, subscription.waiting = subscription.waiting, None
        configuration = assemble(candidates, self._serving)
        self._proposed = configuration
        if self._serving is not None and configuration == self._serving:
            return Step(None, tuple(self.applied()))  # the workers serve it already
        return Step(configuration)

    def _patience(self, item: Missing, since: float) -> float:
        return since + self._patience_s[item[0]]

    def wake_at(self) -> float | None:
        """When `step` should be called although nothing was received: patience with something missing ends."""
        times = [self._patience(*each) for each in self._missing_since.items() if each[0] not in self._given_up]
        return min(times, default=None)

    def applied(self) -> list[Request]:
        """The workers serve the configuration of the last step: acknowledge what it was made of."""
        self._serving, self._proposed = self._proposed, None
        acknowledged: list[Kind] = []
        for kind, subscription in self._subscriptions.items():
            update = subscription.flying
            if update is not None:
                subscription.accepted = update.over(subscription.accepted)
                subscription.version = update.version
                subscription.flying = None
                # A newer response made the nonce stale: its own ACK will follow.
                if update.nonce is not None and update.nonce == subscription.nonce:
                    acknowledged.append(kind)
        for kind, subscription in self._subscriptions.items():
            if not kind.wildcard:
                wanted = self._wanted(kind)
                subscription.accepted = {n: r for n, r in subscription.accepted.items() if n in wanted}
        requests = [self._ask(kind, self._wanted(kind)) for kind in acknowledged]
        return [*requests, *self._subscribe()]

    def refused(self, resource: str, path: str, reason: str) -> list[Request]:
        """The workers cannot serve it: refuse the kinds that `resource` came with, or all if it came with none."""
        self._proposed = None
        flying = {kind: each.flying for kind, each in self._subscriptions.items() if each.flying is not None}
        guilty = {kind for kind, update in flying.items() if resource in update.resources} or set(flying)
        requests: list[Request] = []
        for kind, update in flying.items():
            subscription = self._subscriptions[kind]
            subscription.flying = None
            if kind not in guilty:
                waiting = subscription.waiting
                subscription.waiting = update if waiting is None else update.then(waiting)
            elif update.nonce is not None and update.nonce == subscription.nonce:
                error = str(Rejected(path, reason, kind=kind.name, resource=resource))
                requests.append(self._nack(kind, update.nonce, error))
        return [*requests, *self._subscribe()]

    def _decode(self, kind: Kind, version: str, resources: Iterable[Any]) -> tuple[dict[str, Resource], list[Rejected]]:
        known = {resource.packed.value: resource.decoded for resource in self._subscriptions[kind].candidate().values()}
        decoded: dict[str, Resource] = {}
        rejections: list[Rejected] = []
        for packed in resources:
            try:
                same = known.get(packed.value) if packed.type_url == kind.value else None
                one = same or decode(kind, packed, gateway=self._gateway)
                if one.name in decoded:
                    raise Rejected("", "is given twice in one response", kind=kind.name, resource=one.name)
                decoded[one.name] = Resource(packed, version, one)
            except Rejected as rejected:
                rejections.append(rejected)
        return decoded, rejections

    def _wanted(self, kind: Kind) -> frozenset[str]:
        """Names to subscribe to: what the accepted needs, so that it goes on if the new is refused, and the new."""
        if kind is Kind.RTDS:
            return self._runtime
        names: set[str] = set()
        for source in (Kind.CDS, Kind.LDS):
            subscription = self._subscriptions[source]
            updates = (subscription.flying, subscription.waiting)
            resources = [*subscription.accepted.values()]
            resources += [
                resource for update in updates if update is not None for resource in update.resources.values()
            ]
            for resource in resources:
                needs = resource.decoded.needs
                match kind:
                    case Kind.EDS:
                        names |= needs.assignments
                    case Kind.RDS:
                        names |= needs.routes
                    case Kind.SDS:
                        names |= needs.secrets
        return frozenset(names)

    def _subscribe(self) -> list[Request]:
        """Requests for the kinds whose names have changed."""
        requests: list[Request] = []
        for kind, subscription in self._subscriptions.items():
            names = self._wanted(kind)
            if not kind.wildcard and names != (subscription.sent or frozenset()):
                requests.append(self._ask(kind, names))
                subscription.renamed = True
        return requests

    def _resubscribe(self, kind: Kind) -> list[Request]:
        """Names sent while this response was on its way carried an older nonce; servers pass over such requests. If
        the response lacks some of the names, ask with the new nonce."""
        subscription = self._subscriptions[kind]
        renamed, subscription.renamed = subscription.renamed, False
        names = self._wanted(kind)
        if kind.wildcard or not renamed or names <= subscription.candidate().keys():
            return []
        return [self._ask(kind, names)]

    def _ask(self, kind: Kind, names: frozenset[str]) -> Request:
        subscription = self._subscriptions[kind]
        subscription.sent = names
        return Request(kind, subscription.version, subscription.nonce, tuple(sorted(names)))

    def _nack(self, kind: Kind, nonce: str, error: str) -> Request:
        names = self._wanted(kind)
        self._subscriptions[kind].sent = names
        return Request(kind, self._subscriptions[kind].version, nonce, tuple(sorted(names)), error)


def _describe(rejections: list[Rejected]) -> str:
    text = "; ".join(str(rejected) for rejected in rejections[:MAX_REPORTED])
    rest = len(rejections) - MAX_REPORTED
    return f"{text}; and {rest} more" if rest > 0 else text
