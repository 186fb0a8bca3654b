"""`HTTPFault` of a route, and percentages."""

from sidecar.config.route import Fault
from sidecar.xds.fields import Fields

_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def decode_percent(fields: Fields) -> float:
    """`type.v3.FractionalPercent`, from 0 to 100."""
    percent: float = 100.0 * fields.value("numerator") / _DENOMINATORS[fields.only("denominator", _DENOMINATORS)]
    if percent > 100.0:
        raise fields.reject("numerator", "is more than the whole")
    return percent


def decode_fault(fields: Fields) -> Fault:
    delay_s: float | None = None
    delay_percent = 0.0
    abort_status: int | None = None
    abort_percent = 0.0
    delay = fields.child("delay")
    if delay is not None:
        if delay.which("fault_delay_secifier") != "fixed_delay":  # the name's spelling is Envoy's
            raise delay.reject("fixed_delay", "is required; delays asked for by headers are not supported")
        delay_s = delay.seconds("fixed_delay", None)
        delay_percent = _percentage(delay)
    abort = fields.child("abort")
    if abort is not None:
        if abort.which("error_type") != "http_status":
            raise abort.reject(abort.which("error_type") or "http_status", "only http_status is supported")
        status = int(abort.value("http_status"))
        if not 200 <= status <= 599:
            raise abort.reject("http_status", f"{status} is not from 200 to 599")
        abort_status = status
        abort_percent = _percentage(abort)
    return Fault(delay_s, delay_percent, abort_status, abort_percent)


def _percentage(fields: Fields) -> float:
    percentage = fields.child("percentage")
    return 0.0 if percentage is None else decode_percent(percentage)
