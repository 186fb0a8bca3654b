import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.processors.personal import FINDERS
from collectors.processors.rules import Settings
from collectors.records import Batch
from tests.collectors.build import log, span
from tests.collectors.processors.stages import Stage


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "hash.key"
    path.write_text("0123456789abcdef0123456789abcdef")
    path.chmod(0o600)
    return str(path)


def found(kind: str, text: str) -> list[str]:
    return [text[start:end] for start, end in FINDERS[kind].spans(text)]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("email", "mail jason.k+x@mail.example.org, or <a@b.example>", ["jason.k+x@mail.example.org", "a@b.example"]),
        ("email", "user@host and @someone and a@ b", []),
        ("ipv4", "from 10.0.0.1:8080 to 255.255.255.255", ["10.0.0.1", "255.255.255.255"]),
        ("ipv4", "version 1.2.3, 256.1.1.1.", []),
        ("ipv6", "from [2001:db8::1]:443 and ::1, fe80::1:2", ["2001:db8::1", "::1", "fe80::1:2"]),
        ("ipv6", "::ffff:10.0.0.1", ["::ffff:10.0.0.1"]),
        ("ipv6", "at 12:00:00 a::b::c std::vector", []),
        ("credit_card", "card 4111 1111 1111 1111, 5500-0000-0000-0004 and 378282246310005",
         ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"]),
        ("credit_card", "4111 1111 1111 1112 and 1769860800123456 and 2222222222222222", []),
        ("iban", "to DE89 3704 0044 0532 0130 00 TODAY, or GB82WEST12345698765432",
         ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"]),
        ("iban", "DE88 3704 0044 0532 0130 00 and ZZ82WEST12345698765432", []),
        ("email", "größe: jäson@x, a@b.example ü", ["a@b.example"]),
    ],
)  # fmt: skip
def test_what_is_found(kind: str, text: str, expected: list[str]) -> None:
    assert found(kind, text) == expected


@pytest.mark.parametrize("kind", sorted(FINDERS))
def test_hostile_texts_take_time_in_proportion_to_their_length(kind: str) -> None:
    before = time.perf_counter()
    for piece in ("a@", "1.", "a:", "4111 ", "DE89 ", "1", "a", "::"):
        FINDERS[kind].spans(piece * (100_000 // len(piece)))
    assert time.perf_counter() - before < 20, "quadratic, it would take an hour"


async def test_what_a_rule_finds_is_replaced_everywhere_but_in_ids() -> None:
    stage = Stage("redact", {"rules": [{"pattern": "ipv4"}]})
    record = log("1", "from 10.0.0.1", nested={"list": ["10.0.0.2", 5, None]}, trace_id="10.0.0.3", n=10)
    (clean,) = await stage.through(record)
    assert clean.body == {
        "message": "from [ipv4]", "nested": {"list": ["[ipv4]", 5, None]}, "trace_id": "10.0.0.3", "n": 10,
    }  # fmt: skip
    assert stage.counted("redacted") == 1


async def test_a_record_without_any_is_passed_on_as_it_is() -> None:
    record = log("1", "nothing here", nested={"a": [1]})
    (same,) = await Stage("redact", {"rules": [{"pattern": "email"}]}).through(record)
    assert same is record


async def test_hashes_are_the_same_for_the_same_and_need_the_key(key: str) -> None:
    stage = Stage("redact", {"rules": [{"pattern": "email", "action": "hash"}], "hash_key_file": key})
    (one,) = await stage.through(log("1", "a@b.example and a@b.example and c@d.example"))
    words = one.body["message"].split(" and ")
    assert words[0] == words[1] != words[2]
    assert words[0].startswith("[email:")
    assert "a@b" not in one.body["message"]


async def test_fields_can_be_dropped_and_replaced_by_name() -> None:
    rules = [
        {"values_of": ["ssn", "*.ssn"]},
        {"values_of": ["comment"], "action": "drop_field"},
        {"pattern": "credit_card", "action": "drop_field"},
    ]
    record = log("1", "m", ssn=123, user={"ssn": {"a": 1}, "card": "4111111111111111", "name": "n"}, comment="c")
    (clean,) = await Stage("redact", {"rules": rules}).through(record)
    assert clean.body == {"message": "m", "ssn": "[redacted]", "user": {"ssn": "[redacted]", "name": "n"}}


async def test_a_user_s_expression_looks_where_it_is_told() -> None:
    rule = {"expression": r"order-\d+", "fields": ["message", "http.*"], "replacement": "order-N"}
    record = log("1", "order-17 and order-18", http={"path": "/order-19"}, other="order-20")
    (clean,) = await Stage("redact", {"rules": [rule]}).through(record)
    assert clean.body == {"message": "order-N and order-N", "http": {"path": "/order-N"}, "other": "order-20"}


async def test_spans_are_cleaned_too_unless_only_logs_are_meant() -> None:
    record = span(1, 1, None, "a", name="GET a@b.example", attributes={"user": "a@b.example", "n": 1})
    for signals, cleaned in ((["logs", "traces"], True), (["logs"], False)):
        stage = Stage("redact", {"rules": [{"pattern": "email"}], "signals": signals})
        await stage.stage.consume(Batch(spans=[record]))
        (got,) = stage.sink.batches[0].spans
        assert ("a@b.example" not in str(got)) is cleaned
        assert got.attributes["n"] == 1


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rules": []}, "rules"),
        ({"rules": [{}]}, "needs one of"),
        ({"rules": [{"pattern": "email", "expression": "x"}]}, "needs one of"),
        ({"rules": [{"pattern": "phone"}]}, "credit_card"),
        ({"rules": [{"pattern": "email", "action": "hash"}]}, "no hash_key_file"),
        ({"rules": [{"pattern": "email", "action": "drop_field", "replacement": "x"}]}, "does not use"),
        ({"rules": [{"expression": r"(a)\1"}]}, "backreferences"),
        ({"rules": [{"expression": "a{1000}{1000}"}]}, "RE2"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate(settings)
