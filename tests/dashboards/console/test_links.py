import pytest

from dashboards.console import links


def test_names_are_quoted_in_addresses_and_empty_filters_left_out() -> None:
    assert links.logs(workload="a&b=c", text="") == "/logs?workload=a%26b%3Dc"
    assert links.trace("../x") == "/traces/..%2Fx"
    assert links.traces() == "/traces"


@pytest.mark.parametrize("text", ["a" * 32, "0123456789abcdef"])
def test_trace_ids_are_sixteen_or_thirty_two_hexadecimal_digits(text: str) -> None:
    assert links.is_trace_id(text)


@pytest.mark.parametrize("text", ["", "a" * 31, "A" * 32, "g" * 32, "a" * 32 + "\n", "../" + "a" * 29])
def test_anything_else_is_no_trace_id(text: str) -> None:
    assert not links.is_trace_id(text)


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("0.5", 0.5), ("-1", 0), ("nan", 0), ("inf", 0), ("1e99", 0), ("x", 0), ("", 0)]
)
def test_a_duration_in_an_address_is_a_number_within_reason_or_none(text: str, value: float) -> None:
    assert links.milliseconds(text) == value


def test_unknown_words_in_an_address_become_the_default() -> None:
    assert links.window("5m", "1m") == "5m"
    assert links.window("__class__", "1m") == "1m"
    assert links.severity("error") == "error"
    assert links.severity("<b>") == ""
    assert links.error_kind("exception") == "exception"
    assert links.error_kind("<b>") == ""
    assert len(links.search_text("x\0" * 1000)) == links.MAX_TEXT_CHARS
