"""Which fields may come behind a body."""

import pytest

from sidecar.http.fields import trailing

FORBIDDEN = """
authorization cache-control connection content-encoding content-length content-type cookie expect host keep-alive
proxy-authorization range set-cookie te traceparent trailer transfer-encoding upgrade x-envoy-original-path
x-forwarded-client-cert x-forwarded-for x-request-id :path
"""


@pytest.mark.parametrize("name", FORBIDDEN.split())
def test_what_decides_over_a_message_never_comes_behind_it(name: str) -> None:
    assert trailing([(name.encode(), b"x"), (b"grpc-status", b"0")]) == [(b"grpc-status", b"0")]


def test_checksums_and_outcomes_come_behind_a_body() -> None:
    fields = [(b"grpc-message", b"a%20b"), (b"digest", b"x"), (b"server-timing", b"db;dur=5"), (b"x-checksum", b"1")]

    assert trailing(fields) == fields
