from pathlib import Path

import pytest

from collectors.receivers.tail.assembly import CUT, Assembled, Assembly, AssemblyLimits, RawLine
from collectors.receivers.tail.formats import parse_any, parse_plain
from collectors.receivers.tail.paths import Container, container_of, rotated_siblings
from collectors.receivers.tail.traces import FirstLines, Traces, is_trace

T = "2026-01-31T12:00:00Z"


def raw(*lines: str, at: int = 0) -> list[RawLine]:
    found = []
    for line in lines:
        data = line.encode()
        found.append(RawLine(at, at + len(data) + 1, data))
        at += len(data) + 1
    return found


def texts(records: list[Assembled]) -> list[str]:
    return [record.text for record in records]


def traced(limits: AssemblyLimits | None = None) -> Assembly:
    return Assembly(parse_plain, lambda: Traces(("python", "java", "go")), limits or AssemblyLimits())


def test_parts_become_one_line_of_their_own_stream() -> None:
    assembly = Assembly(parse_any, None, AssemblyLimits())
    lines = raw(f"{T} stdout P a", f"{T} stderr F x", f"{T} stdout P b", f"{T} stdout F c", f"{T} stdout F d")
    records = assembly.feed(lines, 0)
    assert texts(records) == ["x", "abc", "d"]
    assert (records[1].offset, records[1].end) == (0, lines[3].end)
    assert assembly.held_from is None


def test_what_is_kept_back_holds_the_position() -> None:
    assembly = Assembly(parse_any, None, AssemblyLimits(timeout_s=2.0))
    lines = raw(f"{T} stdout F a", f"{T} stdout P b", f"{T} stderr F c")
    assert texts(assembly.feed(lines, 10.0)) == ["a", "c"]
    assert assembly.held_from == lines[1].offset
    assert assembly.flush(11.9) == []
    assert texts(assembly.flush(12.0)) == ["b"]
    assert assembly.held_from is None


def test_parts_that_are_too_much_are_cut_with_a_mark_and_counted() -> None:
    assembly = Assembly(parse_any, None, AssemblyLimits(max_chars=5))
    assert texts(assembly.feed(raw(*[f"{T} stdout P abc"] * 4, f"{T} stdout F d", f"{T} stdout F e"), 0)) == [
        "abcab" + CUT, "e",
    ]  # fmt: skip
    assert assembly.cut == 1


def test_a_line_that_was_cut_has_the_mark() -> None:
    assembly = Assembly(parse_plain, None, AssemblyLimits())
    assert texts(assembly.feed([RawLine(0, 100, b"abc", True)], 0)) == ["abc" + CUT]
    assert assembly.cut == 1


PYTHON = """\
Traceback (most recent call last):
  File "/app/x.py", line 3, in f
    g()
    ~^^
  File "/app/x.py", line 9, in g
    raise KeyError("k")
KeyError: 'k'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/x.py", line 5, in f
    h()
app.errors.NotFound: nothing
"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/app/x.py", line 3, in f
  | ExceptionGroup: several (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: a
    +------------------------------------
"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: no
\tat com.example.A.f(A.java:3)
\tat com.example.A.main(A.java:1)
Caused by: java.lang.NullPointerException
\tat com.example.B.g(B.java:9)
\t... 1 more
"""
GO = """\
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48]

goroutine 1 [running]:
main.f(0xc000012345, 0x1)
\t/app/main.go:12 +0x1d
main.main()
\t/app/main.go:5 +0x2a
created by main.start
\t/app/main.go:2 +0x11
"""


@pytest.mark.parametrize("trace", [PYTHON, GROUP, JAVA, GO], ids=["Python", "Python's groups", "Java", "Go"])
def test_a_trace_is_one_record_and_the_lines_around_it_are_others(trace: str) -> None:
    assembly = traced()
    lines = raw("before", *trace.splitlines(), "after it", "and on")
    records = assembly.feed(lines, 0)
    assert texts(records) == ["before", trace.rstrip("\n"), "after it", "and on"]
    assert [is_trace(text) for text in texts(records)] == [False, True, False, False]
    assert assembly.held_from is None


@pytest.mark.parametrize("trace", [PYTHON, GROUP, JAVA, GO], ids=["Python", "Python's groups", "Java", "Go"])
def test_two_traces_one_after_the_other_are_two_records(trace: str) -> None:
    assembly = traced()
    records = assembly.feed(raw(*trace.splitlines(), *trace.splitlines(), "after it"), 0)
    assert texts(records) == [trace.rstrip("\n"), trace.rstrip("\n"), "after it"]


def test_lines_that_stand_alone_do_not_wait() -> None:
    assembly = traced()
    assert texts(assembly.feed(raw("GET / 200", "an error: no", "  indented"), 0)) == [
        "GET / 200", "an error: no", "  indented",
    ]  # fmt: skip


def test_streams_do_not_mix_their_traces() -> None:
    assembly = Assembly(parse_any, lambda: Traces(("python",)), AssemblyLimits())
    lines = []
    for line in PYTHON.splitlines():
        lines += [f"{T} stderr F {line}", f"{T} stdout F GET / 200"]
    records = assembly.feed(raw(*lines, f"{T} stderr F done with it"), 0)
    of_errors = [record.text for record in records if record.stream == "stderr"]
    assert of_errors == [PYTHON.rstrip("\n"), "done with it"]
    assert len(records) == len(PYTHON.splitlines()) + 2


def test_a_trace_that_is_too_long_becomes_several_records_and_loses_nothing() -> None:
    assembly = traced(AssemblyLimits(max_lines=4))
    lines = ["java.lang.Error: no", *[f"\tat a.b.C.f{number}(C.java)" for number in range(9)]]
    records = assembly.feed(raw(*lines), 0) + assembly.flush(0, force=True)
    assert "\n".join(texts(records)).split("\n") == lines
    assert len(records) == 3
    assert [record.offset for record in records[1:]] == [record.end for record in records[:-1]]


def test_with_a_pattern_every_record_begins_with_a_line_that_has_it() -> None:
    import re

    assembly = Assembly(parse_plain, lambda: FirstLines(re.compile(r"^\d{4}-")), AssemblyLimits(timeout_s=1.0))
    assert texts(assembly.feed(raw("2026-01 a", "more", "2026-02 b"), 0)) == ["2026-01 a\nmore"]
    assert texts(assembly.flush(1.0)) == ["2026-02 b"]
    assert texts(assembly.feed(raw("late", at=50), 2.0) + assembly.flush(3.0)) == ["late"]


@pytest.mark.parametrize(
    ("path", "container"),
    [
        (f"/var/log/containers/reviews-v1-5d8f-x2x_default_reviews-{'a1' * 32}.log",
         Container("default", "reviews-v1-5d8f-x2x", "reviews", "a1" * 32)),
        (f"/var/log/containers/a.b_kube-system_c-d-{'0' * 64}.log", Container("kube-system", "a.b", "c-d", "0" * 64)),
        ("/var/log/pods/default_reviews-v1-x2x_0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f/reviews/0.log",
         Container("default", "reviews-v1-x2x", "reviews", "")),
        (f"/var/lib/docker/containers/{'f' * 64}/{'f' * 64}-json.log", Container("", "", "", "f" * 64)),
        ("/var/log/syslog", None),
        ("/var/log/containers/../../etc_passwd_x.log", None),
    ],
)  # fmt: skip
def test_a_path_says_whose_log_it_is(path: str, container: Container | None) -> None:
    assert container_of(Path(path)) == container


def test_rotated_files_are_known_by_their_names(tmp_path: Path) -> None:
    ours = ["app.log.1", "app.log-20260131", "app.log.20260131-120000", "app-2026-01-31.log", "app.1.log"]
    others = [
        "app.log",
        "app.log.2.gz",
        "app.log.3.tmp",
        "application.log",
        "app-errors.log",
        "other.log.1",
        "applog",
        "app.log.errors",
        "app.logs",
        "app-worker2.log",
    ]
    for name in [*ours, *others]:
        (tmp_path / name).write_text("x")
    (tmp_path / "app.log.link").symlink_to("app.log")
    (tmp_path / "app.log.directory").mkdir()
    assert sorted(entry.name for entry in rotated_siblings(tmp_path / "app.log")) == sorted(ours)
