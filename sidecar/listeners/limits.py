"""What a listener's limits do to a request that begins; asked only where there are any, or memory is short."""

from sidecar.listeners import local_reply
from sidecar.listeners.context import HttpContext
from sidecar.listeners.exchange import Exchange
from sidecar.net.timers import NEVER


def refused(exchange: Exchange, context: HttpContext, whole: bool, now: float) -> bool:
    """Set the request's time-outs. True: it was answered 503 since memory is short. `whole`: no body is to come."""
    config = context.config
    if context.process.load.shedding:
        context.counts.rq_shed += 1
        exchange.request_whole = whole
        exchange.refuse(local_reply.OVERLOADED)
        return True
    exchange.bound(
        now + config.request_timeout_s if config.request_timeout_s else NEVER,
        now + config.max_stream_duration_s if config.max_stream_duration_s else NEVER,
    )
    return False
