from typing import Any

import pytest

from collectors.processors.redaction import REDACTED, Redaction, redact, redact_text
from collectors.records import Batch
from tests.collectors.build import access, log, span
from tests.collectors.fakes import Sink

SECRET = "s3cr3t-value"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJqYXNvbiJ9.MEUCIQDx"


@pytest.mark.parametrize(
    "key",
    [
        "authorization", "Authorization", "proxy-authorization", "http.request.header.authorization", "cookie",
        "Set-Cookie", "x-api-key", "api_key", "apikey", "password", "db_password", "passwd", "client_secret", "secret",
        "access_token", "refresh-token", "id_token", "token", "x-auth-token", "private_key", "credentials", "jwt",
    ],
)  # fmt: skip
def test_values_under_telling_names_are_replaced(key: str) -> None:
    assert redact({key: SECRET, "nested": {key: [SECRET]}, "list": [{key: SECRET}]}) == {
        key: REDACTED,
        "nested": {key: REDACTED},
        "list": [{key: REDACTED}],
    }


@pytest.mark.parametrize(
    "key", ["path", "user", "tokens_used", "author", "secretary", "keyboard", "passenger", "cookies_accepted_count"]
)
def test_names_that_only_look_like_it_stay(key: str) -> None:
    assert redact({key: "value"}) == {key: "value"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bearer abcdef123456", f"Bearer {REDACTED}"),
        ("sent Authorization: Basic dXNlcjpwYXNz today", f"sent Authorization: Basic {REDACTED} today"),
        ("/login?user=jason&password=hunter22&x=1", f"/login?user=jason&password={REDACTED}&x=1"),
        ("/cb?access_token=abc", f"/cb?access_token={REDACTED}"),
        ("/s3?X-Amz-Signature=abc&sig=def", f"/s3?X-Amz-Signature={REDACTED}&sig={REDACTED}"),
        ("postgres://admin:hunter2@db:5432/x", f"postgres://admin:{REDACTED}@db:5432/x"),
        (f"got {JWT} from", f"got {REDACTED} from"),
        ("/api/v1/products/0?page=2", "/api/v1/products/0?page=2"),
        ("basic things", "basic things"),
        ("password=hunter2", f"password={REDACTED}"),
        ('{"user": "jason", "password": "hunter2"}', f'{{"user": "jason", "password": "{REDACTED}"}}'),
        ("authorization: abc", f"authorization: {REDACTED}"),
        ("AUTHORIZATION=BEARER abc", f"AUTHORIZATION=BEARER {REDACTED}"),
        ("http://reviews:9080/reviews/0", "http://reviews:9080/reviews/0"),
        ("bEaReR abcdef123456", f"bEaReR {REDACTED}"),
        ("a@b.example mails c@d.example", "a@b.example mails c@d.example"),
    ],
)
def test_tokens_within_text_are_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact_text(text) == expected


async def through(batch: Batch) -> Batch:
    sink = Sink()
    await Redaction(sink).consume(batch)
    return sink.batches[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"path": f"/?token={SECRET}"},
        {"user_agent": f"curl Bearer {SECRET}"},
        {"authority": f"x://u:{SECRET}@h"},
        {"authorization": SECRET},
        {"extra": {"cookie": SECRET}},
    ],
)
async def test_access_records_are_cleaned(changes: dict[str, Any]) -> None:
    stored = await through(Batch(logs=[access(1, **changes)]))
    assert SECRET not in str(stored)
    assert stored.logs[0].body["workload"] == "productpage-v1"


async def test_an_access_record_without_secrets_is_passed_on_as_it_is() -> None:
    record = access(1)
    assert (await through(Batch(logs=[record]))).logs[0] is record


async def test_all_of_a_span_is_cleaned_and_spans_go_on_sharing_their_resource() -> None:
    sink = Sink()
    resource = {"db_password": SECRET}
    event = {"name": "sent", "time_ns": 5, "attributes": {"authorization": SECRET}}
    link = {"trace_id": "0a" * 16, "span_id": "0b" * 8, "trace_state": "", "attributes": {"token": SECRET}}
    dirty = {"resource": resource, "status_message": f"Bearer {JWT}", "events": [event], "links": [link]}
    await Redaction(sink).consume(Batch(spans=[span(1, number, None, "reviews", **dirty) for number in (1, 2)]))
    first, second = sink.batches[0].spans
    assert first.resource == {"db_password": REDACTED}
    assert first.resource is second.resource
    assert first.status_message == f"Bearer {REDACTED}"
    assert first.events == [{"name": "sent", "time_ns": 5, "attributes": {"authorization": REDACTED}}]
    assert first.links == [{**link, "attributes": {"token": REDACTED}}]


async def test_logs_and_spans_are_cleaned() -> None:
    spans = [span(1, 1, None, "a", name=f"GET /?token={SECRET}", attributes={"http.request.header.cookie": [SECRET]})]
    stored = await through(Batch(logs=[log("1", f"password={SECRET}", token=SECRET)], spans=spans))
    assert SECRET not in str(stored.spans)
    assert SECRET not in str(stored.logs)


def test_a_text_of_nothing_but_beginnings_takes_time_in_proportion_to_its_length() -> None:
    """Quadratic, it would take minutes."""
    for beginning in ("eyJ-", "eyJaaaaaa.", "bearer ", "authorization ", "://a", "a_", "'a_"):
        text = beginning * (300_000 // len(beginning))
        assert redact_text(text + " =").endswith(" =")
