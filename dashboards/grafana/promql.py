"""Expressions out of parts: rates, shares and quantiles of Istio's standard metrics over Grafana's `$__rate_interval`,
which is never less than four scrapes. https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/"""

WINDOW = "$__rate_interval"

REQUESTS = "istio_requests_total"
DURATION = "istio_request_duration_milliseconds"
REQUEST_BYTES = "istio_request_bytes"
RESPONSE_BYTES = "istio_response_bytes"
TCP_SENT = "istio_tcp_sent_bytes_total"
TCP_RECEIVED = "istio_tcp_received_bytes_total"
TCP_OPENED = "istio_tcp_connections_opened_total"
TCP_CLOSED = "istio_tcp_connections_closed_total"

HTTP_FAILED = 'response_code=~"5.."'
GRPC_FAILED = 'grpc_response_status=~"2|4|12|13|14|15"'
"""UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: a server's errors, by OpenTelemetry's
semantic conventions; the console counts the same ones."""


def selector(*matchers: str) -> str:
    """`{a="b",c="d"}`; empty matchers are left out."""
    return "{" + ",".join(each for each in matchers if each) + "}"


def rate(metric: str, *matchers: str) -> str:
    """Per second, over the window that fits the picture's resolution."""
    return f"rate({metric}{selector(*matchers)}[{WINDOW}])"


def per_second(metric: str, *matchers: str, by: str = "") -> str:
    """The rates' sum, for each combination of the labels in `by`."""
    return f"sum{_by(by)} ({rate(metric, *matchers)})"


def failed(*matchers: str, by: str = "") -> str:
    """Failed requests per second: 5xx, and gRPC statuses that are a server's errors. No series where none failed."""
    # `or` joins series of different labels, so that a request that is both counts once.
    return f"sum{_by(by)} ({rate(REQUESTS, *matchers, HTTP_FAILED)} or {rate(REQUESTS, *matchers, GRPC_FAILED)})"


def failed_or_none(*matchers: str, by: str = "") -> str:
    """The same, 0 where requests came and none failed."""
    return or_none(failed(*matchers, by=by), per_second(REQUESTS, *matchers, by=by))


def or_none(part: str, whole: str) -> str:
    """`part`, or 0 where there is only the `whole` that it is part of."""
    return f"({part} or {whole} * 0)"


def success(*matchers: str, by: str = "") -> str:
    """Share of requests that did not fail, 0 to 1; no series where there was no request."""
    return f"1 - {failed_or_none(*matchers, by=by)} / ({per_second(REQUESTS, *matchers, by=by)} > 0)"


def share(part: str, whole: str) -> str:
    """`part` of `whole`, 0 to 1; no series where there is no whole."""
    return f"{or_none(part, whole)} / ({whole} > 0)"


def quantile(q: str, metric: str, *matchers: str, by: str = "") -> str:
    """A histogram's quantile; `q` is a number or a variable."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) ({rate(f'{metric}_bucket', *matchers)}))"


def buckets(metric: str, *matchers: str) -> str:
    """Counts by bucket, for a heat map."""
    return f"sum by (le) (increase({metric}_bucket{selector(*matchers)}[{WINDOW}]))"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
