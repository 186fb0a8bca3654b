"""The answers' form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.custom_metrics.load import METRICS, Load, quantity, value_of


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (1.0, "1"), (1.5, "1500m"), (0.0001, "1m"), (12.3456, "12346m"), (250.0, "250"), (0.1 + 0.2, "300m")],
)
def test_quantities_are_thousandths_rounded_up(value: float, written: str) -> None:
    assert quantity(value) == written


@given(st.floats(0, 1e9))
def test_a_quantity_is_never_less_and_hardly_more(value: float) -> None:
    text = quantity(value)
    read = int(text[:-1]) / 1000 if text.endswith("m") else int(text)
    assert value - 1e-6 * max(value, 1) <= read <= value + 0.001 + 1e-6 * max(value, 1)


def test_every_metric_has_a_value() -> None:
    load = Load(2.0, 0.25, 3.0, 9.0)
    assert [value_of(name, load) for name in METRICS] == [2.0, 0.25, 3.0, 9.0]
    with pytest.raises(KeyError):
        value_of("remora_moods", load)
