"""DestinationRules to destination policies."""

from collections.abc import Container
from dataclasses import replace

from control.api.hosts import full_name
from control.api.kinds.destination_rule import (
    ClientTls,
    ConnectionPool,
    DestinationRuleSpec,
    LoadBalancer,
    OutlierDetection,
    PortPolicy,
    TcpKeepalive,
    TrafficPolicy,
)
from control.api.kinds.destination_rule import Subset as ApiSubset
from control.api.world import World
from control.ir import policies as ir


def destinations(world: World, known: Container[str]) -> dict[tuple[str, str], ir.DestinationPolicy]:
    """By the rule's namespace and the host's full name.

    Several rules for one host in one namespace are merged as in Istio: subsets are united, the oldest rule that has a
    traffic policy gives it.
    """
    found: dict[tuple[str, str], ir.DestinationPolicy] = {}
    for resource in world.of_kind("DestinationRule"):
        spec = resource.spec
        assert isinstance(spec, DestinationRuleSpec)
        key = resource.namespace, full_name(spec.host, resource.namespace, known)
        policy = _destination(spec)
        older = found.get(key)
        found[key] = policy if older is None else _merged(older, policy)
    return found


def _merged(older: ir.DestinationPolicy, newer: ir.DestinationPolicy) -> ir.DestinationPolicy:
    subsets = {**newer.subsets, **older.subsets}
    if older.policy == ir.TrafficPolicy() and not older.ports:
        return replace(newer, subsets=subsets)
    return replace(older, subsets=subsets)


def _destination(spec: DestinationRuleSpec) -> ir.DestinationPolicy:
    return ir.DestinationPolicy(
        policy=_policy(spec.traffic_policy),
        ports=_ports(spec.traffic_policy),
        subsets={subset.name: _subset(subset) for subset in spec.subsets},
    )


def _subset(subset: ApiSubset) -> ir.Subset:
    return ir.Subset(subset.labels, _policy(subset.traffic_policy), _ports(subset.traffic_policy))


def _ports(policy: TrafficPolicy | None) -> dict[int, ir.TrafficPolicy]:
    return {each.port.number: _policy(each) for each in policy.port_level_settings} if policy else {}


def _policy(policy: TrafficPolicy | PortPolicy | None) -> ir.TrafficPolicy:
    if policy is None:
        return ir.TrafficPolicy()
    return ir.TrafficPolicy(
        _balancing(policy.load_balancer),
        _pool(policy.connection_pool),
        _tls(policy.tls),
        _nearness(policy.load_balancer),
        _outlier(policy.outlier_detection),
    )


def _outlier(outlier: OutlierDetection | None) -> ir.OutlierDetection | None:
    if outlier is None:
        return None
    return ir.OutlierDetection(
        consecutive_5xx=outlier.consecutive_5xx_errors,
        consecutive_gateway=outlier.consecutive_gateway_errors,
        split=outlier.split_external_local_origin_errors,
        consecutive_local=outlier.consecutive_local_origin_failures,
        interval_s=outlier.interval,
        base_ejection_s=outlier.base_ejection_time,
        max_ejection_percent=outlier.max_ejection_percent,
        min_health_percent=outlier.min_health_percent,
    )


def _nearness(balancer: LoadBalancer | None) -> ir.Nearness | None:
    setting = balancer.locality_lb_setting if balancer is not None else None
    if setting is None:
        return None
    return ir.Nearness(setting.enabled, tuple((each.from_, each.to) for each in setting.failover))


def _balancing(balancer: LoadBalancer | None) -> ir.Balancing | None:
    if balancer is None or balancer.simple in (None, "UNSPECIFIED"):
        return None
    return ir.Balancing("LEAST_REQUEST" if balancer.simple == "LEAST_CONN" else balancer.simple)


def _pool(pool: ConnectionPool | None) -> ir.Pool | None:
    if pool is None:
        return None
    tcp, http = pool.tcp, pool.http
    return ir.Pool(
        max_connections=tcp.max_connections if tcp else None,
        connect_timeout_s=tcp.connect_timeout if tcp else None,
        max_pending=http.http1_max_pending_requests if http else None,
        max_requests=http.http2_max_requests if http else None,
        max_retries=http.max_retries if http else None,
        max_requests_per_connection=http.max_requests_per_connection if http else None,
        idle_timeout_s=http.idle_timeout if http else None,
        keepalive=_keepalive(tcp.tcp_keepalive) if tcp else None,
    )


def _keepalive(keepalive: TcpKeepalive | None) -> ir.KeepAlive | None:
    if keepalive is None:
        return None
    return ir.KeepAlive(keepalive.probes, int(keepalive.time or 0), int(keepalive.interval or 0))


def _tls(tls: ClientTls | None) -> ir.Tls | None:
    return None if tls is None else ir.Tls(ir.TlsMode(tls.mode), tls.sni, tls.subject_alt_names)
