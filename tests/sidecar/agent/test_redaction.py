"""No credential that its name tells of leaves a sidecar by a tap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.agent.redaction import redact, redact_url
from tests.sidecar.agent.tapped import tap_record, tapped_message

SECRET = b"s3cr3t-value"


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ((b"authorization", b"Bearer " + SECRET), b"Bearer [redacted]"),
        ((b"authorization", SECRET), b"[redacted]"),
        ((b"proxy-authorization", b"Basic " + SECRET), b"Basic [redacted]"),
        ((b"cookie", b"session=" + SECRET + b"; theme=" + SECRET), b"session=[redacted]; theme=[redacted]"),
        ((b"cookie", SECRET), b"[redacted]"),
        ((b"set-cookie", b"id=" + SECRET + b"; Path=/; HttpOnly"), b"id=[redacted]; Path=/; HttpOnly"),
        ((b"x-api-key", SECRET), b"[redacted]"),
        ((b"x-auth-token", SECRET), b"[redacted]"),
        ((b"x-csrf-token", SECRET), b"[redacted]"),
        ((b"x-client-secret", SECRET), b"[redacted]"),
        ((b"x-amz-security-token", SECRET), b"[redacted]"),
        ((b"location", b"https://a.example/cb?code=" + SECRET + b"&x=1"), b"https://a.example/cb?code=[redacted]&x=1"),
        ((b"location", b"/#access_token=" + SECRET + b"&n=1"), b"/#access_token=[redacted]&n=1"),
        ((b"referer", b"https://u:" + SECRET + b"@a.example/"), b"https://[redacted]@a.example/"),
    ],
)
def test_fields(field: tuple[bytes, bytes], shown: bytes) -> None:
    for of in ("headers", "trailers"):
        message = tapped_message(**{of: (field,)})
        record = redact(tap_record(request=message, answer=message))
        assert record.answer is not None
        for each in (record.request, record.answer):
            assert getattr(each, of) == ((field[0], shown),)


@pytest.mark.parametrize("field", [(b"x-request-id", b"1"), (b"traceparent", b"00-1-2-01"), (b"accept", b"*/*")])
def test_what_is_no_secret_stays(field: tuple[bytes, bytes]) -> None:
    assert redact(tap_record(request=tapped_message(headers=(field,)))).request.headers == (field,)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (b"/a?token=" + SECRET, b"/a?token=[redacted]"),
        (b"/a?x=1&ACCESS_TOKEN=" + SECRET + b"&y=2", b"/a?x=1&ACCESS_TOKEN=[redacted]&y=2"),
        (b"/a?p%61ssword=" + SECRET, b"/a?p%61ssword=[redacted]"),
        (b"/a?X-Amz-Signature=" + SECRET, b"/a?X-Amz-Signature=[redacted]"),
        (b"/a?api_key=" + SECRET, b"/a?api_key=[redacted]"),
        (b"/a?q=plain&page=2", b"/a?q=plain&page=2"),
        (b"/a?token", b"/a?token"),
        (b"/token/a", b"/token/a"),
    ],
)
def test_parameters_of_the_query(url: bytes, shown: bytes) -> None:
    assert redact(tap_record(target=url)).target == shown


def test_forms() -> None:
    form = ((b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"),)
    message = tapped_message(headers=form, body=b"user=a&password=" + SECRET)
    assert redact(tap_record(request=message)).request.body == b"user=a&password=[redacted]"


@given(st.binary(max_size=200))
def test_any_target_is_redacted_without_trouble_and_once_is_enough(url: bytes) -> None:
    once = redact_url(url)
    assert redact_url(once) == once
