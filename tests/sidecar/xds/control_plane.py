"""A control plane without a network, paired with the ADS machine: answers each request as the protocol has it."""

from google.protobuf.any_pb2 import Any as AnyMessage

from sidecar.xds.ads import Ads, Request
from sidecar.xds.configuration import Configuration
from sidecar.xds.kinds import Kind
from tests.sidecar.xds.resources import CLASSES


class ControlPlane:
    """State of the world. `run` lets both talk until neither has anything to say."""

    def __init__(self, *, gateway: bool = False) -> None:
        self.ads = Ads(gateway=gateway)
        self.resources: dict[Kind, dict[str, AnyMessage]] = {kind: {} for kind in Kind}
        self.versions: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.acked: dict[Kind, str] = {}
        self.nacks: list[Request] = []
        self.applied: list[Configuration] = []
        self.now = 0.0
        self._names: dict[Kind, tuple[str, ...]] = {}
        self._sent: dict[Kind, str] = {}
        self._nonce = 0

    def has(self, kind: Kind, *resources: AnyMessage) -> None:
        """From now on these are the resources of the kind."""
        name_field = "cluster_name" if kind is Kind.EDS else "name"
        messages = [CLASSES[kind].FromString(each.value) for each in resources]
        self.resources[kind] = {
            getattr(message, name_field): each for message, each in zip(messages, resources, strict=True)
        }
        self.versions[kind] += 1

    def run(self) -> Configuration | None:
        """Connect, or go on; whatever is handed out is applied. Returns what serves in the end."""
        pending = self.ads.connected() if not self._names else []
        for _ in range(1000):
            pending += self._push()
            while pending:
                pending += self._take(pending.pop(0))
            step = self.ads.step(self.now)
            pending += step.requests
            if step.configuration is not None:
                self.applied.append(step.configuration)
                pending += self.ads.applied()
            if not pending:
                return self.ads.serving
        raise AssertionError("they never stop talking")

    def _push(self) -> list[Request]:
        requests: list[Request] = []
        for kind in Kind:
            if kind in self._names and self._sent.get(kind, "").partition("/")[0] != str(self.versions[kind]):
                requests += self._answer(kind)
        return requests

    def _take(self, request: Request) -> list[Request]:
        kind = request.kind
        if request.error is not None:
            self.nacks.append(request)
            return []
        if request.nonce and request.version:
            self.acked[kind] = request.version
        if kind in self._names and self._names[kind] == request.names:
            return []
        self._names[kind] = request.names
        return self._answer(kind)

    def _answer(self, kind: Kind) -> list[Request]:
        names = self.resources[kind] if kind.wildcard else self._names[kind]
        self._nonce += 1
        self._sent[kind] = f"{self.versions[kind]}/{self._nonce}"
        found = [self.resources[kind][name] for name in names if name in self.resources[kind]]
        return self.ads.received(kind.value, str(self.versions[kind]), f"n{self._nonce}", found)
