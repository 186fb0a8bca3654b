"""What a route does, in Envoy's words."""

from collections.abc import Callable, Iterable

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RedirectAction,
    RetryPolicy,
    RouteAction,
    WeightedCluster,
)
from envoy.config.route.v3.route_components_pb2 import Route as RouteMessage
from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent

from control.generate.matches import route_match
from control.generate.pack import duration, pack
from control.ir.routes import Copy, Destination, Direct, Fault, Forward, HeaderEdits, Redirect, Retry, Route

FAULT_FILTER = "envoy.filters.http.fault"

ClusterOf = Callable[[Destination], str]
"""The cluster that a destination means to this proxy, on this port."""

_STATUS = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


def route(route: Route, cluster_of: ClusterOf) -> RouteMessage:
    """One route of a virtual host."""
    message = RouteMessage(name=route.name, match=route_match(route.match))
    match route.action:
        case Forward():
            message.route.CopyFrom(_forward(route.action, cluster_of))
        case Redirect():
            message.redirect.CopyFrom(_redirect(route.action))
        case Direct():
            message.direct_response.CopyFrom(_direct(route.action))
    if route.headers is not None:
        _edit(message, route.headers)
    if route.fault is not None:
        message.typed_per_filter_config[FAULT_FILTER].CopyFrom(pack(_fault(route.fault)))
    return message


def percent(value: float) -> FractionalPercent:
    """0 to 100, to a ten-thousandth of a percent."""
    return FractionalPercent(numerator=round(value * 10_000), denominator=FractionalPercent.MILLION)


def _forward(forward: Forward, cluster_of: ClusterOf) -> RouteAction:
    action = RouteAction(timeout=duration(forward.timeout_s or 0))
    shares = forward.shares
    if len(shares) == 1 and shares[0].headers is None:
        action.cluster = cluster_of(shares[0].destination)
    else:
        for share in shares:
            weighted = WeightedCluster.ClusterWeight(name=cluster_of(share.destination))
            weighted.weight.value = share.weight
            if share.headers is not None:
                _edit(weighted, share.headers)
            action.weighted_clusters.clusters.append(weighted)
    if forward.retry is not None:
        action.retry_policy.CopyFrom(_retry(forward.retry))
    if forward.host_rewrite is not None:
        action.host_rewrite_literal = forward.host_rewrite
    if forward.path_rewrite is not None:
        action.prefix_rewrite = forward.path_rewrite
    if forward.regex_rewrite is not None:
        action.regex_rewrite.pattern.regex = forward.regex_rewrite[0]
        action.regex_rewrite.substitution = forward.regex_rewrite[1]
    action.request_mirror_policies.extend(_mirrors(forward.copies, cluster_of))
    return action


def _mirrors(copies: Iterable[Copy], cluster_of: ClusterOf) -> Iterable[RouteAction.RequestMirrorPolicy]:
    for copy in copies:
        if copy.percent > 0:
            policy = RouteAction.RequestMirrorPolicy(cluster=cluster_of(copy.destination))
            policy.runtime_fraction.default_value.CopyFrom(percent(copy.percent))
            yield policy


def _retry(retry: Retry) -> RetryPolicy:
    policy = RetryPolicy(retry_on=",".join(retry.on), retriable_status_codes=retry.statuses)
    policy.num_retries.value = retry.attempts
    if retry.per_try_timeout_s:
        policy.per_try_timeout.CopyFrom(duration(retry.per_try_timeout_s))
    policy.retry_back_off.base_interval.CopyFrom(duration(retry.base_interval_s))
    policy.retry_back_off.max_interval.CopyFrom(duration(retry.base_interval_s * 10))
    return policy


def _redirect(redirect: Redirect) -> RedirectAction:
    action = RedirectAction(response_code=_STATUS[redirect.status])
    if redirect.scheme is not None:
        action.scheme_redirect = redirect.scheme
    if redirect.host is not None:
        action.host_redirect = redirect.host
    if redirect.port is not None:
        action.port_redirect = redirect.port
    if redirect.path is not None:
        action.path_redirect = redirect.path
    return action


def _direct(direct: Direct) -> DirectResponseAction:
    action = DirectResponseAction(status=direct.status)
    if direct.body:
        action.body.inline_bytes = direct.body
    return action


def _fault(fault: Fault) -> HTTPFault:
    message = HTTPFault()
    if fault.delay_s is not None:
        delay = FaultDelay(fixed_delay=duration(fault.delay_s), percentage=percent(fault.delay_percent))
        message.delay.CopyFrom(delay)
    if fault.abort_status is not None:
        abort = FaultAbort(http_status=fault.abort_status, percentage=percent(fault.abort_percent))
        message.abort.CopyFrom(abort)
    return message


def _edit(message: RouteMessage | WeightedCluster.ClusterWeight, edits: HeaderEdits) -> None:
    message.request_headers_to_add.extend([*_set(edits.request_set), *_add(edits.request_add)])
    message.request_headers_to_remove.extend(edits.request_remove)
    message.response_headers_to_add.extend([*_set(edits.response_set), *_add(edits.response_add)])
    message.response_headers_to_remove.extend(edits.response_remove)


def _set(headers: Iterable[tuple[str, str]]) -> list[HeaderValueOption]:
    return [_option(name, value, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD) for name, value in headers]


def _add(headers: Iterable[tuple[str, str]]) -> list[HeaderValueOption]:
    return [_option(name, value, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD) for name, value in headers]


def _option(name: str, value: str, action: HeaderValueOption.HeaderAppendAction) -> HeaderValueOption:
    # Envoy replaces %COMMAND% in values; a rule's text means itself, as its percent signs do.
    escaped = value.replace("%", "%%")
    return HeaderValueOption(
        header=HeaderValue(key=name, value=escaped), append_action=action, keep_empty_value=not value
    )
