"""Which headers of a request an application passes on with the calls it makes to answer it.

Sidecars can not know which outgoing call belongs to which incoming request: the application tells them by passing the
trace context on. The list is that of the public Bookinfo sample.
"""

from collections.abc import Mapping

TRACE_HEADERS: tuple[str, ...] = (
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
)
"""What the tracing systems in use call their context."""

SESSION_HEADERS: tuple[str, ...] = ("user-agent", "cookie", "authorization", "jwt")
"""What productpage passes on besides: who is asking, for policies that look at it."""


def pass_on(received: Mapping[str, str], *others: str) -> dict[str, str]:
    """The trace headers of `received`, and those named in `others`, as far as they are there."""
    return {name: received[name] for name in (*TRACE_HEADERS, *others) if name in received}
