"""Which records may be in an older backing index, as a table."""

import math

import pytest

from collectors.exporters.elasticsearch.bulk import Answer, Fate, Item
from collectors.exporters.elasticsearch.documents import Document
from collectors.exporters.elasticsearch.rollover import MAX_OLDER, Backing, parse_backing, suspects
from tests.collectors.build import log

DAY = 86400.0
SKEW = 600.0
STREAM = "logs-remora.app-default"
BACKING = Backing("c", created=3 * DAY, older=(("b", 3 * DAY), ("a", 2 * DAY)))
"""a was written until day 2, b until day 3, c since."""


def item(time: float, *, clock_off: bool = False) -> tuple[Item, Answer]:
    made = Item(log("x/1", "x", time=time), STREAM, Document("id", b"{}", clock_off))
    return made, Answer(Fate.STORED, "c", "")


@pytest.mark.parametrize(
    ("time", "clock_off", "indices"),
    [
        (3 * DAY + SKEW, False, None),
        (3 * DAY + SKEW - 1, False, ("b",)),
        (2 * DAY + SKEW, False, ("b",)),
        (2 * DAY + SKEW - 1, False, ("b", "a")),
        (0.0, False, ("b", "a")),
        (9 * DAY, True, ("b", "a")),
        (math.nan, True, ("b", "a")),
    ],
    ids=[
        "made after the present index",
        "made just before, by a clock that may be ahead",
        "made when the second was written",
        "made when the first may have been written",
        "old",
        "of a clock that is off",
        "without a time",
    ],
)
def test_a_record_is_looked_for_where_it_may_be(time: float, clock_off: bool, indices: tuple[str, ...] | None) -> None:
    found = suspects([item(time, clock_off=clock_off)], BACKING, SKEW)
    assert [names for _, names in found] == ([] if indices is None else [indices])


def test_a_stream_with_one_index_needs_no_look() -> None:
    assert suspects([item(0.0)], Backing("c", 3 * DAY, ()), SKEW) == []


def test_looking_is_bounded() -> None:
    older = tuple((f"i{number}", 3 * DAY - number) for number in range(20))
    ((_, indices),) = suspects([item(0.0)], Backing("c", 3 * DAY, older), SKEW)
    assert indices == tuple(f"i{number}" for number in range(MAX_OLDER))


def settings(**created: int) -> dict[str, object]:
    return {
        name.replace("_", "-"): {"settings": {"index": {"creation_date": str(day * 86_400_000)}}}
        for name, day in created.items()
    }


def test_indices_are_ordered_by_generation_whatever_their_prefix() -> None:
    answer = settings(ds_000003=3, shrunken_ds_000001=9, ds_000002=2)
    assert parse_backing(answer, "ds-000003") == Backing(
        "ds-000003", 3 * DAY, (("ds-000002", 3 * DAY), ("shrunken-ds-000001", 2 * DAY))
    )


def test_an_answer_about_an_older_index_looks_at_those_before_it_alone() -> None:
    answer = settings(ds_000003=3, ds_000001=1, ds_000002=2)
    assert parse_backing(answer, "ds-000002") == Backing("ds-000002", 2 * DAY, (("ds-000001", 2 * DAY),))


def test_an_index_that_is_gone_leaves_all_suspect() -> None:
    backing = parse_backing(settings(ds_000003=3), "ds-000002")
    assert suspects([item(99 * DAY)], backing, SKEW) != []
