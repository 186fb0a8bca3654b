"""Lists of ports, ranges and interfaces: what the injector accepts, remora-init accepts, and takes for the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.injector import traffic
from remora.init import scalars
from remora.init.options import ANNOTATIONS

ITEMS = st.text("0123456789-,. *:/abfx@", max_size=20) | st.lists(
    st.sampled_from(["80", "1-9", "65535", "10.0.0.0/8", "fd00::/8", "::ffff:1.2.3.4", "127.0.0.1", "net1"]),
    max_size=3,
).map(", ".join)  # fmt: skip


@given(ITEMS)
def test_whatever_the_injector_makes_of_a_list_remora_init_takes_for_what_was_written(text: str) -> None:
    for ours, theirs in (
        (traffic.ports, scalars.parse_ports),
        (traffic.all_or_ports, scalars.parse_captured_ports),
        (traffic.ranges, scalars.parse_ranges),
        (traffic.all_or_ranges, scalars.parse_captured_ranges),
        (traffic.interfaces, scalars.parse_interfaces),
    ):
        try:
            canonical = ours(text)
        except ValueError:
            continue
        assert theirs(canonical) == theirs(text)
        assert ours(canonical) == canonical


def test_annotations_and_flags_are_those_of_remora_init() -> None:
    ours = {each.flag: f"traffic.sidecar.istio.io/{each.annotation}" for each in traffic.FIELDS.values()}
    assert ours == ANNOTATIONS


def test_a_list_is_bounded() -> None:
    assert traffic.MAX_ITEMS == scalars.MAX_ENTRIES
    with pytest.raises(ValueError, match="has 257 items; it has at most 256"):
        traffic.ports(",".join(map(str, range(1, 258))))
