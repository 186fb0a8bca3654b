"""The Date header's value, formatted once a second (RFC 9110 6.6.1)."""

from email.utils import formatdate
from functools import lru_cache


def http_date(now: float) -> bytes:
    """`now`: seconds since the Unix epoch."""
    return _formatted(int(now))


@lru_cache(maxsize=2)
def _formatted(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")
