"""CDS `outlier_detection` and `common_lb_config`: which endpoints are left out, and when health counts for nothing."""

from sidecar.config.cluster import Cluster, Discovery
from sidecar.config.outlier import OutlierDetection
from sidecar.xds.fields import Fields


def decode_outlier(fields: Fields, discovery: Discovery) -> OutlierDetection | None:
    """By failures one behind the other. By rates of success there is none: that they eject must be switched off."""
    outlier = fields.child("outlier_detection")
    if outlier is None:
        return None
    if discovery is Discovery.ORIGINAL:
        raise fields.reject("outlier_detection", "is not supported in a cluster of type ORIGINAL_DST")
    outlier.informational(
        "success_rate_minimum_hosts",
        "success_rate_request_volume",
        "success_rate_stdev_factor",
        "failure_percentage_threshold",
        "failure_percentage_minimum_hosts",
        "failure_percentage_request_volume",
        "successful_active_health_check_uneject_host",  # of health checks there are none
    )
    default = OutlierDetection()
    split = bool(outlier.value("split_external_local_origin_errors"))
    _none(outlier, "enforcing_success_rate", 100)
    _none(outlier, "enforcing_local_origin_success_rate", 100 if split else 0)
    _none(outlier, "enforcing_failure_percentage", 0)
    _none(outlier, "enforcing_failure_percentage_local_origin", 0)
    base_s = _time(outlier, "base_ejection_time", default.base_ejection_s)
    max_s = _time(outlier, "max_ejection_time", max(base_s, default.max_ejection_s))
    if max_s < base_s:
        raise outlier.reject("max_ejection_time", f"is less than base_ejection_time, {base_s:g} s")
    return OutlierDetection(
        consecutive_5xx=outlier.wrapped("consecutive_5xx", default.consecutive_5xx),
        enforcing_consecutive_5xx=_percent(outlier, "enforcing_consecutive_5xx", default.enforcing_consecutive_5xx),
        consecutive_gateway=outlier.wrapped("consecutive_gateway_failure", default.consecutive_gateway),
        enforcing_consecutive_gateway=_percent(
            outlier, "enforcing_consecutive_gateway_failure", default.enforcing_consecutive_gateway
        ),
        split=split,
        consecutive_local=outlier.wrapped("consecutive_local_origin_failure", default.consecutive_local),
        enforcing_consecutive_local=_percent(
            outlier, "enforcing_consecutive_local_origin_failure", default.enforcing_consecutive_local
        ),
        interval_s=_time(outlier, "interval", default.interval_s),
        base_ejection_s=base_s,
        max_ejection_s=max_s,
        max_jitter_s=outlier.seconds("max_ejection_time_jitter", default.max_jitter_s) or 0.0,
        max_ejection_percent=_percent(outlier, "max_ejection_percent", default.max_ejection_percent),
        always_one=outlier.wrapped("always_eject_one_host", default.always_one),
    )


def decode_panic(fields: Fields) -> float:
    """Below which share of healthy endpoints, percent, all are used."""
    default = Cluster("").panic_percent
    common = fields.child("common_lb_config")
    threshold = None if common is None else common.child("healthy_panic_threshold")
    if threshold is None:
        return default
    percent = float(threshold.value("value"))
    if not 0 <= percent <= 100:
        raise threshold.reject("value", "must be from 0 to 100")
    return percent


def _time(fields: Fields, name: str, default: float) -> float:
    seconds = fields.seconds(name, default)
    assert seconds is not None
    if seconds < 0.001:
        raise fields.reject(name, "must be at least 0.001s")
    return seconds


def _percent(fields: Fields, name: str, default: int) -> int:
    percent: int = fields.wrapped(name, default)
    if percent > 100:
        raise fields.reject(name, "must be from 0 to 100")
    return percent


def _none(fields: Fields, name: str, default: int) -> None:
    if fields.wrapped(name, default) != 0:
        raise fields.reject(name, "must be 0: endpoints are ejected by failures one behind the other alone")
