"""Service level objectives: the shares of failed and of slow requests over every window, and the alerts on them.

A service is judged by what its callers' proxies saw: they count connections that failed, too. Where no caller is in the
mesh, by what its own proxy saw.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dashboards.alerts.objectives import BASE, BURN_RATES, WINDOWS, BurnRate, Objectives
from dashboards.alerts.rules import Alert, Group, Recording, duration

_BY = "destination_service_name, destination_service_namespace"
_SERVICE = "{{ $labels.destination_service_namespace }}/{{ $labels.destination_service_name }}"

TOTAL = "slo:service_requests:rate5m"

INTERVAL_S = 15.0
"""Between evaluations of the rates: a sum of rates times this is a number of requests, exactly."""
LONG_INTERVAL_S = 60.0
"""Between evaluations of the longer windows, which change slowly and read many samples."""


@dataclass(frozen=True, slots=True)
class _Promise:
    """One kind of bad request."""

    kind: str
    alert: str
    share: float
    """Of requests that must not be bad."""
    bad: str
    good: str
    look: str
    """Where to look first."""

    @property
    def rate(self) -> str:
        return f"slo:service_{self.kind}:rate5m"

    def ratio(self, window: str) -> str:
        return f"slo:service_{self.kind}:ratio_rate{window}"


def _promises(objectives: Objectives) -> tuple[_Promise, ...]:
    quick = f"{objectives.quick_ms} ms"
    return (
        _Promise(
            "errors",
            "RemoraErrorBudgetBurn",
            objectives.available,
            bad="failed",
            good="succeed",
            look="`remora graph` shows between whom, `remora traces --errors` gives examples",
        ),
        _Promise(
            "slow",
            "RemoraLatencyBudgetBurn",
            objectives.quick,
            bad=f"took more than {quick}",
            good=f"be answered within {quick}",
            look=f"`remora traces --min-duration {objectives.quick_ms}ms` shows where the time goes",
        ),
    )


def interval_s(objectives: Objectives) -> float:
    """Between evaluations of `rates`."""
    return max(1.0, INTERVAL_S * objectives.scale)


def slo_groups(objectives: Objectives) -> Iterator[Group]:
    """The windows, and the alerts, which read nothing but recorded series."""
    promises = _promises(objectives)
    windows = tuple(_windows(objectives, promises))
    yield Group("remora-slo-windows", windows, max(1.0, LONG_INTERVAL_S * objectives.scale))
    alerts = tuple(_alert(promise, burn, objectives) for promise in promises for burn in BURN_RATES)
    yield Group("remora-slo-alerts", alerts)


def rates(objectives: Objectives) -> Iterator[Recording]:
    """What the windows are made of. They belong behind the services' rates in one group, or they would be compared with
    rates of the evaluation before."""
    promises = _promises(objectives)
    span = duration(objectives.range(BASE))
    yield Recording(TOTAL, _as_callers_saw("service:istio_requests:rate5m{{{}}}"))
    errors, slow = promises
    yield Recording(errors.rate, _as_callers_saw("service:istio_request_errors:rate5m{{{}}}"))
    # 1000 becomes 1000.0 in Prometheus 3.
    bound = f'le=~"{objectives.quick_ms}(\\\\.0)?"'
    quick = _as_callers_saw(f"rate(istio_request_duration_milliseconds_bucket{{{{{bound}, {{}}}}}}[{span}])")
    yield Recording(slow.rate, f"clamp_min({TOTAL} - ({quick}), 0)")
    for promise in promises:
        yield Recording(promise.ratio(BASE.name), f"{promise.rate} / ({TOTAL} > 0)")


def _as_callers_saw(expression: str) -> str:
    """`{}` of the expression is where the reporter goes."""
    source, destination = (
        f"sum by ({_BY}) ({expression.format(matcher)})" for matcher in ('reporter="source"', 'reporter="destination"')
    )
    return f"{source} or {destination}"


def _windows(objectives: Objectives, promises: tuple[_Promise, ...]) -> Iterator[Recording]:
    """Sums of what was recorded weigh each minute by its requests, and cost a fraction of a rate over three days."""
    for window in WINDOWS:
        if window is BASE:
            continue
        span = duration(objectives.range(window))
        for promise in promises:
            bad, total = (f"sum_over_time({series}[{span}])" for series in (promise.rate, TOTAL))
            yield Recording(promise.ratio(window.name), f"{bad} / ({total} > 0)")


def _alert(promise: _Promise, burn: BurnRate, objectives: Objectives) -> Alert:
    threshold = f"{burn.factor * (1 - promise.share):.6g}"
    requests = f"{interval_s(objectives):g} * sum_over_time({TOTAL}[{duration(objectives.range(burn.long))}])"
    return Alert(
        promise.alert,
        f"{promise.ratio(burn.long.name)} > {threshold} and {promise.ratio(burn.short.name)} > {threshold} "
        f"and {requests} >= {objectives.min_requests}",
        burn.severity,
        summary=f"{_SERVICE}: {{{{ $value | humanizePercentage }}}} of requests {promise.bad} in {burn.long.name}",
        description=(
            f"{promise.share * 100:g} % of {_SERVICE}'s requests are to {promise.good}. At this rate the month's "
            f"budget is used up {burn.factor:g} times too soon: {promise.look}."
        ),
        for_s=burn.for_s * objectives.scale,
        labels={"slo": promise.kind, "window": burn.long.name},
    )
