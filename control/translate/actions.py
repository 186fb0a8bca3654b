"""Actions of VirtualService routes to actions of the mesh."""

from collections.abc import Container

from control.api.hosts import full_name
from control.api.kinds import headers as api_headers
from control.api.kinds import http_action as api
from control.api.kinds.virtual_service import HttpRoute
from control.ir import routes as ir


def action(route: HttpRoute, namespace: str, known: Container[str]) -> ir.Forward | ir.Redirect | ir.Direct:
    """What the route does; parsing has seen to it that it does one thing."""
    if route.redirect is not None:
        return _redirect(route.redirect)
    if route.direct_response is not None:
        body = route.direct_response.body
        return ir.Direct(route.direct_response.status, body.content if body else b"")
    rewrite = route.rewrite
    regex = rewrite.uri_regex_rewrite if rewrite else None
    alone = len(route.route) == 1
    return ir.Forward(
        shares=tuple(
            ir.Share(destination(each.destination, namespace, known), 1 if alone else each.weight, edits(each.headers))
            for each in route.route
            if alone or each.weight > 0
        ),
        timeout_s=route.timeout or None,
        retry=_retry(route.retries),
        host_rewrite=rewrite.authority if rewrite else None,
        path_rewrite=rewrite.uri if rewrite else None,
        regex_rewrite=(regex.match, regex.rewrite) if regex else None,
        copies=tuple(
            ir.Copy(destination(mirror.destination, namespace, known), mirror.percentage.value)
            for mirror in route.all_mirrors
        ),
    )


def fault(fault: api.Fault | None) -> ir.Fault | None:
    """Parts whose percentage is zero change nothing and are left out."""
    if fault is None:
        return None
    delay, abort = fault.delay, fault.abort
    translated = ir.Fault(
        delay_s=delay.fixed_delay if delay and api.percent_of(delay) > 0 else None,
        delay_percent=api.percent_of(delay) if delay else 0.0,
        abort_status=abort.http_status if abort and api.percent_of(abort) > 0 else None,
        abort_percent=api.percent_of(abort) if abort else 0.0,
    )
    return None if translated.delay_s is None and translated.abort_status is None else translated


def edits(headers: api_headers.Headers | None) -> ir.HeaderEdits | None:
    """Names in lower case, in the order in which they were written."""
    if headers is None:
        return None
    request = headers.request or api_headers.HeaderOperations()
    response = headers.response or api_headers.HeaderOperations()
    translated = ir.HeaderEdits(
        request_set=_pairs(request.set),
        request_add=_pairs(request.add),
        request_remove=tuple(name.lower() for name in request.remove),
        response_set=_pairs(response.set),
        response_add=_pairs(response.add),
        response_remove=tuple(name.lower() for name in response.remove),
    )
    return None if translated == ir.HeaderEdits() else translated


def _pairs(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in headers.items())


def destination(destination: api.Destination, namespace: str, known: Container[str]) -> ir.Destination:
    port = destination.port.number if destination.port else None
    return ir.Destination(full_name(destination.host, namespace, known), destination.subset or "", port)


def _redirect(redirect: api.Redirect) -> ir.Redirect:
    return ir.Redirect(redirect.redirect_code, redirect.scheme, redirect.authority, redirect.port, redirect.uri)


def _retry(retry: api.Retry | None) -> ir.Retry | None:
    if retry is None:
        return ir.DEFAULT_RETRY
    if retry.attempts == 0:
        return None
    words = [word.strip() for word in (retry.retry_on or "").split(",") if word.strip()]
    statuses = tuple(sorted({int(word) for word in words if word.isdigit()}))
    conditions = tuple(dict.fromkeys(word for word in words if not word.isdigit()))
    if statuses and "retriable-status-codes" not in conditions:
        conditions = (*conditions, "retriable-status-codes")
    return ir.Retry(
        attempts=retry.attempts,
        on=conditions or ir.SAFE_RETRIES,
        statuses=statuses,
        per_try_timeout_s=retry.per_try_timeout or None,
        base_interval_s=retry.backoff or ir.DEFAULT_RETRY.base_interval_s,
    )
