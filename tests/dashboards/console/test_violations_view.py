from dashboards.console.answers import Violation
from dashboards.console.violations_view import decorations, tooltips


def violation(line: int, severity: str = "error", path: str = "spec.http", message: str = "no") -> Violation:
    return Violation("editor.yaml", line, "VirtualService", "default", "x", path, message, severity)


def test_each_line_is_marked_once_by_the_worst_that_is_wrong_with_it() -> None:
    found = [violation(3, "warning"), violation(3), violation(5, "warning"), violation(5, "warning")]
    assert decorations(found, lines=9) == [
        {"kind": "line", "line": 3, "class": "violation"},
        {"kind": "line", "line": 5, "class": "violation-warning"},
    ]


def test_lines_that_the_text_does_not_have_are_not_marked() -> None:
    assert decorations([violation(0), violation(10)], lines=9) == []
    assert tooltips([violation(0), violation(10)], lines=9) == {}


def test_a_line_tells_everything_that_is_wrong_with_it() -> None:
    found = [violation(2, message="one"), violation(2, path="", message="two")]
    assert tooltips(found, lines=2) == {2: "spec.http: one\ntwo"}
