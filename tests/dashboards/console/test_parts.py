from dashboards.console.pages.logs import LIMIT, LogEntry, joined
from dashboards.console.parts import changes


def test_only_what_is_new_gone_or_different_is_sent_to_a_grid() -> None:
    before = {1: {"id": 1, "a": "x"}, 2: {"id": 2, "a": "x"}, 3: {"id": 3, "a": "x"}}
    now = {2: {"id": 2, "a": "x"}, 3: {"id": 3, "a": "y"}, 4: {"id": 4, "a": "x"}}
    assert changes(before, now) == {"add": [now[4]], "update": [now[3]], "remove": [before[1]]}
    assert not any(changes(now, now).values())


def entry(rowid: int, time: float) -> LogEntry:
    return LogEntry(str(rowid), time, "t", "w", "info", "m", None, {}, rowid)


def test_the_tail_keeps_the_newest_by_time_even_if_one_arrives_late() -> None:
    shown = [entry(2, 20.0), entry(1, 10.0)]
    assert [one.rowid for one in joined(shown, [entry(4, 30.0), entry(3, 15.0)])] == [4, 2, 3, 1]
    many = [entry(n, float(n)) for n in range(LIMIT)]
    kept = joined(many, [entry(LIMIT, float(LIMIT))])
    assert len(kept) == LIMIT
    assert kept[0].rowid == LIMIT
