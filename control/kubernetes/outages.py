"""What is said of an API server that does not answer, forbids or lacks something: once, and once when it is over."""

import logging
from collections.abc import Callable
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from control.kubernetes.errors import ApiError
from mesh.clock import Clock

_log = logging.getLogger("control.kubernetes")


class State(Enum):
    """How a watched resource is."""

    STARTING = "starting"
    WATCHING = "watching"
    AWAY = "away"
    """The API server does not answer, or not usefully."""
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    """The cluster has no such resource: its CRD is not installed."""


class ReflectorMetrics:
    """What is counted of watches, by resource."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        names = ("cluster", "resource")
        registry = registry or CollectorRegistry()
        self.state = Gauge(
            "remora_kubernetes_watch_state",
            "1 for the state that a watched resource is in",
            (*names, "state"),
            registry=registry,
        )
        self.objects = Gauge("remora_kubernetes_objects", "Objects known", names, registry=registry)
        self.lists = Counter("remora_kubernetes_lists", "Lists, by outcome", (*names, "outcome"), registry=registry)
        self.list_time = Histogram(
            "remora_kubernetes_list_seconds",
            "How long a whole list took",
            names,
            registry=registry,
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60),
        )
        self.events = Counter("remora_kubernetes_events", "Watch events", (*names, "type"), registry=registry)
        self.undecodable = Counter(
            "remora_kubernetes_undecodable",
            "Objects that are not as Kubernetes describes them; the last known state of each goes on",
            names,
            registry=registry,
        )


class ApiHealth:
    """Whether one API server answers; shared by all that call it, so that its outage is one line and not twenty."""

    def __init__(self, host: str, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._away_since: float | None = None
        self._failing: set[str] = set()

    @property
    def away(self) -> bool:
        return self._away_since is not None

    @property
    def away_s(self) -> float:
        """For how long; 0 while it answers."""
        return 0.0 if self._away_since is None else self._clock.monotonic() - self._away_since

    def failed(self, what: str, why: str) -> None:
        """`what` got no useful answer."""
        self._failing.add(what)
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            _log.error("the API server %s does not answer as it should: %s; what is known goes on", self._host, why)

    def answered(self, what: str) -> None:
        """`what` is well again; all being well is said."""
        self._failing.discard(what)
        if self._away_since is not None and not self._failing:
            away_s = self._clock.monotonic() - self._away_since
            self._away_since = None
            _log.info("the API server %s answers again, after %.1f s", self._host, away_s)


class Condition:
    """One resource's state, told when it changes."""

    def __init__(
        self, cluster: str, resource: str, health: ApiHealth, metrics: ReflectorMetrics, known: Callable[[], int]
    ) -> None:
        """`known` is how many objects are known, for what is said."""
        self._cluster = cluster
        self._resource = resource
        self._health = health
        self._metrics = metrics
        self._known = known
        self.state = State.STARTING
        self._set(State.STARTING)

    def _set(self, state: State) -> bool:
        before, self.state = self.state, state
        for each in State:
            self._metrics.state.labels(self._cluster, self._resource, each.value).set(each is state)
        return before is not state

    def works(self) -> None:
        before = self.state
        if self._set(State.WATCHING):
            if before in (State.FORBIDDEN, State.MISSING):
                how = "can be read now" if before is State.FORBIDDEN else "are installed now"
                _log.info("%s %s", self._resource, how)
            self._health.answered(self._resource)

    def failed(self, error: ApiError) -> State:
        """The state that the error means."""
        if error.forbidden:
            state = State.FORBIDDEN
        elif error.not_found:
            state = State.MISSING
        else:
            state = State.AWAY
        changed = self._set(state)
        if state is State.AWAY:
            self._health.failed(self._resource, str(error))
            return state
        self._health.answered(self._resource)
        if changed and state is State.FORBIDDEN:
            _log.error("%s; until then the %d known %s go on", error, self._known(), self._resource)
        elif changed:
            _log.warning("this cluster has no %s; they are watched once their CRD is installed", self._resource)
        return state
