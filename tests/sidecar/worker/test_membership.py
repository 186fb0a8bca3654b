"""How many endpoints a cluster has, and how many are healthy: what `/metrics` says as they come, fail and go."""

from dataclasses import replace

from mesh.clock import SystemClock
from sidecar.agent.metric_store import MetricStore
from sidecar.config.cluster import Balancing, Cluster
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.messages import Applied, Metrics
from sidecar.config.outlier import OutlierDetection
from tests.sidecar.worker.peers import Client, Origin, answering
from tests.sidecar.worker.proxy import Proxy, everything, forward_to, plain_listener

UNUSED = Endpoint(Address("127.0.0.2", 9))


def membership(proxy: Proxy) -> dict[str, dict[str, float]]:
    """As the agent shows it now, by cluster."""
    proxy.worker.flush()
    store = MetricStore(SystemClock())
    for message in proxy.messages:
        if isinstance(message, Metrics):
            store.add(1, message)
    found: dict[str, dict[str, float]] = {}
    prefix = "envoy_cluster_membership_"
    for name, labels, value in store.totals():
        if name.startswith(prefix):
            found.setdefault(dict(labels)["envoy_cluster_name"], {})[name.removeprefix(prefix)] = value
    return found


def members(total: int, healthy: int) -> dict[str, float]:
    return {"total": total, "healthy": healthy, "degraded": 0, "excluded": 0}


async def test_members_are_counted_as_they_come_fail_and_go(proxy: Proxy, origin: Origin, client: Client) -> None:
    up = Cluster(
        "up", endpoints=(Endpoint(origin.address),), balancing=Balancing.ROUND_ROBIN, panic_percent=0.0,
        connect_timeout_s=2.0,
    )  # fmt: skip
    other = Cluster("other", endpoints=(UNUSED,))
    address = proxy.bind()
    listeners = (plain_listener("in", address, everything(forward_to("up"))),)

    async def use(*clusters: Cluster) -> None:
        answer = await proxy.apply(clusters=clusters, listeners=listeners)
        assert isinstance(answer, Applied), answer

    await use(up, other)
    assert membership(proxy) == {}, "nobody has used a cluster"
    connection = await client.connect(address)
    assert (await connection.get()).status == 200
    assert membership(proxy) == {"up": members(1, 1)}

    reported = replace(UNUSED, healthy=False)
    await use(replace(up, endpoints=(*up.endpoints, reported)), other)
    assert membership(proxy) == {"up": members(2, 1)}

    outlier = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
    await use(replace(up, endpoints=(*up.endpoints, reported), outlier=outlier), other)
    origin.handler = answering(503)
    assert (await connection.get()).status == 503
    assert membership(proxy) == {"up": members(2, 0)}

    await use(replace(up, endpoints=()), other)
    assert membership(proxy) == {"up": members(0, 0)}
    listeners = (plain_listener("in", address, everything(forward_to("other"))),)
    await use(other)
    assert membership(proxy) == {}, "the cluster is gone"
