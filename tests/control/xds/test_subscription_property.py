"""Whatever happened before, a client that answers ends in sync, and never holds a route without its cluster."""

from hypothesis import given, settings
from hypothesis import strategies as st

from control.generate.types import Snapshot
from control.xds.messages import CDS, EDS, LDS, RDS, SDS
from control.xds.subscription import GATE_S, Refused
from tests.control.xds.snapshots import made_of
from tests.control.xds.test_subscription import Client

CLUSTERS = ("a", "b", "c", "d")


def meshes() -> st.SearchStrategy[Snapshot]:
    """The route configuration's edition names the cluster that it sends to, which exists."""

    editions = st.sampled_from(["v1", "v2"])

    def build(clusters: list[str], edition: str, endpoints: list[str], listener: str) -> Snapshot:
        return made_of(
            CDS=dict.fromkeys(clusters, edition), EDS=dict(zip(clusters, endpoints, strict=False)),
            LDS={"out": listener}, RDS={"routes": f"to-{clusters[0]}"},
        )  # fmt: skip

    names = st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=4, unique=True)
    return st.builds(build, names, editions, st.lists(editions, min_size=4, max_size=4), editions)


class Proxy(Client):
    """Takes what it is sent, keeps its state as Envoy would, and checks it after every response."""

    def __init__(self) -> None:
        super().__init__(None)
        self.clusters: set[str] = set()
        self.endpoints: dict[str, bytes] = {}
        self.route = ""
        self.refusing: set[str] = set()

    def connect(self) -> None:
        for url, names in ((CDS, ()), (EDS, sorted(self.clusters)), (LDS, ()), (RDS, ("routes",)), (SDS, ("ROOTCA",))):
            if url != EDS or names:
                self.ask(url, *names)

    def take_one(self) -> bool:
        response = self.subscription.next(self.now)
        if response is None:
            return False
        url = response.type_url
        self.last[url] = response
        if url in self.refusing:
            assert isinstance(self.nack(url), Refused)
            return True
        if url == CDS:
            self.clusters = self.names_in(CDS)
        elif url == EDS:
            # What an answer leaves out stays as it was.
            self.endpoints |= {each.value.decode().split()[0]: each.value for each in response.resources}
        elif url == RDS and response.resources:
            self.route = response.resources[0].value.decode().partition("to-")[2]
        self.ack(url)
        if url == CDS and self.names.get(EDS) != frozenset(self.clusters):
            self.ask(EDS, *sorted(self.clusters))
        return True

    def check(self) -> None:
        assert not self.route or not self.clusters or self.route in self.clusters


STEPS = st.lists(
    st.one_of(
        meshes(),
        st.just("take"),
        st.just("take"),
        st.just("wait"),
        st.sampled_from(["refuse CDS", "refuse EDS", "refuse RDS", "refuse LDS", "accept"]),
    ),
    max_size=30,
)


@given(meshes(), STEPS, meshes())
@settings(deadline=None, max_examples=150)
def test_any_history_ends_in_sync(first: Snapshot, steps: list[object], last: Snapshot) -> None:
    proxy = Proxy()
    proxy.subscription.offer(first)
    proxy.connect()
    while proxy.take_one():
        pass
    refused = False
    for step in steps:
        match step:
            case Snapshot():
                proxy.subscription.offer(step)
            case "take":
                proxy.take_one()
            case "wait":
                proxy.now += GATE_S
            case "accept":
                proxy.refusing.clear()
            case str():
                refused = True
                proxy.refusing.add({"CDS": CDS, "EDS": EDS, "RDS": RDS, "LDS": LDS}[step.removeprefix("refuse ")])
        if not refused:
            proxy.check()
    proxy.refusing.clear()
    # What was refused is not sent again by itself: something else comes in between.
    proxy.subscription.offer(
        made_of(CDS=dict.fromkeys(CLUSTERS, "between"), LDS={"out": "between"}, RDS={"routes": "to-a between"})
    )
    for _ in range(60):
        if not proxy.take_one():
            proxy.now += GATE_S
    proxy.subscription.offer(last)
    for _ in range(60):
        if not proxy.take_one() and proxy.subscription.synced:
            break
    assert proxy.subscription.synced
    assert proxy.clusters == set(last.resources[CDS])
    assert {n: proxy.endpoints[n] for n in proxy.clusters} == {n: a.value for n, a in last.resources[EDS].items()}
    assert proxy.subscription.deadline(proxy.now + GATE_S) is None
