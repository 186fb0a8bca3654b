"""`TcpProxy`: one cluster or several by weight, time-outs, connect attempts, access log."""

from sidecar.config.listener import Tcp, TcpTarget
from sidecar.xds.decode_http import decode_access_log
from sidecar.xds.fields import Fields
from sidecar.xds.needs import Decoding

MAX_CONNECT_ATTEMPTS = 16
"""One connection shall not knock at more doors than this."""


def decode_tcp(fields: Fields, decoding: Decoding) -> Tcp:
    idle_timeout_s = fields.seconds("idle_timeout", None)
    attempts = fields.wrapped("max_connect_attempts", 1)
    if not 1 <= attempts <= MAX_CONNECT_ATTEMPTS:
        raise fields.reject("max_connect_attempts", f"must be from 1 to {MAX_CONNECT_ATTEMPTS}")
    fields.required("stat_prefix")  # as Envoy; connections are counted by Istio's labels, and by cluster and listener
    return Tcp(
        targets=_decode_targets(fields, decoding),
        # Envoy: unset is an hour, 0 switches it off.
        idle_timeout_s=Tcp(()).idle_timeout_s if idle_timeout_s is None else idle_timeout_s,
        max_connect_attempts=attempts,
        access_log=decode_access_log(fields),
    )


def _decode_targets(fields: Fields, decoding: Decoding) -> tuple[TcpTarget, ...]:
    kind = fields.which("cluster_specifier")
    if kind == "cluster":
        targets = [TcpTarget(fields.required("cluster"))]
    elif kind == "weighted_clusters":
        targets = []
        for each in fields.must(kind).children("clusters"):
            weight = each.value("weight")
            if weight < 1:
                raise each.reject("weight", "must be at least 1")
            targets.append(TcpTarget(each.required("name"), weight))
        if not targets:
            raise fields.reject("weighted_clusters.clusters", "is required")
    else:
        raise fields.reject(kind or "cluster", "must be one cluster or weighted_clusters")
    decoding.clusters.update(target.cluster for target in targets)
    return tuple(targets)
