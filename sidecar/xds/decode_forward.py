"""`RouteAction`: which clusters, rewrites, timeouts and retries."""

import re

from sidecar.config.route import Forward, RetryOn, RetryPolicy, WeightedCluster
from sidecar.xds.decode_fault import decode_percent
from sidecar.xds.decode_headers import decode_header_edits
from sidecar.xds.decode_match import decode_regex
from sidecar.xds.decode_upgrades import decode_route_upgrades
from sidecar.xds.fields import Fields
from sidecar.xds.needs import Decoding

DEFAULT_TIMEOUT_S = 15.0
"""Envoy's, where a route says nothing; 0 means none."""

MAX_RETRIES = 100

_RETRY_ON = {each.value: each for each in RetryOn}
_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"


def decode_forward(fields: Fields, decoding: Decoding) -> Forward:
    clusters = _decode_clusters(fields)
    decoding.clusters.update(each.cluster for each in clusters)
    mirror = tuple(_decode_mirror(each) for each in fields.children("request_mirror_policies"))
    decoding.clusters.update(cluster for cluster, _ in mirror)
    fields.only("priority", ("DEFAULT",))
    fields.only("cluster_not_found_response_code", ("SERVICE_UNAVAILABLE",))
    host_rewrite = None
    kind = fields.which("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        host_rewrite = fields.text(kind).lower() or None
    elif kind is not None:
        raise fields.reject(kind, "is not supported; use host_rewrite_literal")
    prefix_rewrite = fields.text("prefix_rewrite") or None
    regex_rewrite = _decode_regex_rewrite(fields)
    if prefix_rewrite is not None and regex_rewrite is not None:
        raise fields.reject("regex_rewrite", "cannot be combined with prefix_rewrite")
    retry = fields.child("retry_policy")
    stream = fields.child("max_stream_duration")
    if stream is not None:
        # Istio sends it as 0, which is no limit. What limits a request here is `timeout`.
        for name in ("max_stream_duration", "grpc_timeout_header_max"):
            if stream.seconds(name, 0.0):
                raise stream.reject(name, "only 0 is supported")
    upgrades, end_connect = decode_route_upgrades(fields)
    return Forward(
        clusters=clusters,
        timeout_s=fields.seconds("timeout", DEFAULT_TIMEOUT_S) or None,
        idle_timeout_s=fields.seconds("idle_timeout", None),
        retry=_decode_retry(retry) if retry is not None else None,
        host_rewrite=host_rewrite,
        prefix_rewrite=prefix_rewrite,
        regex_rewrite=regex_rewrite,
        mirror=mirror,
        upgrades=upgrades,
        end_connect=end_connect,
    )


def _decode_clusters(fields: Fields) -> tuple[WeightedCluster, ...]:
    kind = fields.which("cluster_specifier")
    if kind == "cluster":
        return (WeightedCluster(fields.required("cluster"), 1),)
    if kind != "weighted_clusters":
        raise fields.reject(kind or "cluster", "supported: cluster, weighted_clusters")
    weighted = fields.must(kind)
    clusters = [
        WeightedCluster(each.required("name"), each.wrapped("weight", 0), decode_header_edits(each))
        for each in weighted.children("clusters")
    ]
    total = sum(each.weight for each in clusters)
    if total <= 0:
        raise weighted.reject("clusters", "the sum of the weights must be more than 0")
    # Deprecated; Envoy requires that it agrees.
    declared = weighted.wrapped("total_weight", total)
    if declared != total:
        raise weighted.reject("total_weight", f"is {declared}, but the weights add up to {total}")
    return tuple(clusters)


def _decode_mirror(fields: Fields) -> tuple[str, float]:
    fraction = fields.child("runtime_fraction")
    percent = 100.0
    if fraction is not None:
        fraction.informational("runtime_key")  # there is no runtime that could override the default
        percent = decode_percent(fraction.must("default_value"))
    return fields.required("cluster"), percent


def _decode_regex_rewrite(fields: Fields) -> tuple[str, str] | None:
    rewrite = fields.child("regex_rewrite")
    if rewrite is None:
        return None
    pattern = decode_regex(rewrite.must("pattern"))
    substitution = rewrite.text("substitution")
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError) as error:
        raise rewrite.reject("pattern.regex", f"cannot be used to rewrite: {error}") from error
    for reference in re.findall(r"\\(\d)", substitution):
        if int(reference) > groups:
            raise rewrite.reject("substitution", f"\\{reference} names a group that the pattern does not have")
    return pattern, substitution


def _decode_retry(fields: Fields) -> RetryPolicy:
    default = RetryPolicy()
    conditions: set[RetryOn] = set()
    for text in filter(None, (part.strip() for part in fields.text("retry_on").split(","))):
        if text not in _RETRY_ON:
            raise fields.reject("retry_on", f"{text[:100]!r} is not supported; supported: {', '.join(_RETRY_ON)}")
        conditions.add(_RETRY_ON[text])
    for predicate in fields.children("retry_host_predicate"):
        # Another endpoint is preferred for each further try anyway.
        if predicate.required("name") != _PREVIOUS_HOSTS:
            raise predicate.reject("name", f"only {_PREVIOUS_HOSTS} is supported")
        predicate.informational("typed_config")
    fields.informational("host_selection_retry_max_attempts")
    attempts = fields.wrapped("num_retries", 1)
    if attempts > MAX_RETRIES:
        raise fields.reject("num_retries", f"{attempts} is more than {MAX_RETRIES}")
    base, ceiling = default.base_interval_s, default.max_interval_s
    back_off = fields.child("retry_back_off")
    if back_off is not None:
        base = back_off.seconds("base_interval", None) or 0.0
        if base <= 0:
            raise back_off.reject("base_interval", "must be more than 0")
        ceiling = back_off.seconds("max_interval", None) or 10 * base
        if ceiling < base:
            raise back_off.reject("max_interval", "must not be below base_interval")
    return RetryPolicy(
        on=frozenset(conditions),
        attempts=attempts,
        per_try_timeout_s=fields.seconds("per_try_timeout", None) or None,
        status_codes=frozenset(fields.value("retriable_status_codes")),
        base_interval_s=base,
        max_interval_s=ceiling,
    )
