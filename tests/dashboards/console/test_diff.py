from dashboards.console.diff import diff


def test_a_changed_line_shows_both_versions_between_its_neighbours() -> None:
    lines = diff("a\nb\nc\n", "a\nB\nc\n")
    assert [(line.kind, line.text, line.old, line.new) for line in lines] == [
        ("same", "a", 1, 1),
        ("removed", "b", 2, None),
        ("added", "B", None, 2),
        ("same", "c", 3, 3),
    ]


def test_a_new_document_is_all_added_and_a_deleted_one_all_removed() -> None:
    assert {line.kind for line in diff(None, "a\nb")} == {"added"}
    assert {line.kind for line in diff("a\nb", None)} == {"removed"}


def test_equal_documents_have_no_diff() -> None:
    assert diff("a\n", "a\n") == ()


def test_what_lies_far_from_a_change_is_left_out() -> None:
    old = [str(n) for n in range(50)]
    new = [*old]
    new[5], new[40] = "x", "y"
    lines = diff("\n".join(old), "\n".join(new))
    assert [line.kind for line in lines].count("gap") == 1
    assert len(lines) < 20


def test_texts_too_long_to_compare_are_shown_one_after_the_other() -> None:
    old = "\n".join(["same line"] * 50_000)
    lines = diff(old, old + "\nmore")
    assert [lines[0].kind, lines[-1].kind, lines[-1].text] == ["removed", "added", "more"]
    assert diff(old, old) == ()
