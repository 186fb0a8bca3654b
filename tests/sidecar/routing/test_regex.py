"""RE2 patterns: what they match, what is refused, and that no text takes long."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.routing.regex import compile_regex
from sidecar.routing.regex_syntax import InvalidRegex


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        pytest.param("", [""], ["a"], id="empty"),
        pytest.param("abc", ["abc"], ["ab", "abcd", "xabc"], id="literal"),
        pytest.param("a|bc|", ["a", "bc", ""], ["b", "abc"], id="choice with an empty branch"),
        pytest.param("a*b+c?", ["b", "aabbc"], ["a", "abcc"], id="repeats"),
        pytest.param("a{2}b{1,3}c{2,}", ["aabcc", "aabbbccc"], ["abcc", "aabbbbcc", "aabc"], id="counted repeats"),
        pytest.param("a{,2}", ["a{,2}"], ["aa"], id="a brace without a lower count is a character"),
        pytest.param("a*?b", ["aab"], ["aa"], id="lazy repeats match the same"),
        pytest.param("(?P<x>a)(?:b)(?<y>c)", ["abc"], ["ab"], id="groups"),
        pytest.param("[a-c^-]", ["b", "^", "-"], ["d", ""], id="class"),
        pytest.param("[^a-c]", ["d", "\n", "é"], ["a", "ab"], id="negated class"),
        pytest.param("[]a]", ["]", "a"], ["b"], id="a bracket first in a class"),
        pytest.param(r"[\d\-\]]+", ["1-]"], ["a"], id="escapes in a class"),
        pytest.param("[[:alpha:][:^print:]]", ["q", "\x01"], ["1"], id="POSIX classes"),
        pytest.param(r"\d\D\w\W\s\S", ["1a_- x"], ["aa_- x"], id="class escapes"),
        pytest.param(r"\d", ["7"], ["٧"], id="digits are ASCII, as in RE2"),
        pytest.param(r"\.\/\x41\x{42}\01", ["./AB\x01"], ["x/AB\x01"], id="escapes"),
        pytest.param(r"\t\n", ["\t\n"], ["tn"], id="control escapes"),
        pytest.param(r"\Qa.b\Ec", ["a.bc"], ["axbc"], id="quoting"),
        pytest.param(".", ["a", "é", "€", "😀"], ["\n", "", "ab"], id="a dot is a character, whatever its bytes"),
        pytest.param("(?s).", ["\n"], [""], id="a dot that takes a newline"),
        pytest.param("(?i)aBc", ["AbC"], ["abd"], id="case ignored"),
        pytest.param("a(?i)b|c", ["aB", "C"], ["AB"], id="a flag holds to the group's end"),
        pytest.param("a(?i:b)c", ["aBc"], ["aBC"], id="a flag for one group"),
        pytest.param("(?i-s:A)(?U)b+", ["ab"], ["aB"], id="flags switched off"),
        pytest.param("(?i)[^k]", ["x"], ["k", "K"], id="case ignored in a negated class"),
        pytest.param("^a$", ["a"], ["a\n", "ba"], id="anchors"),
        pytest.param(r"\Aa\z", ["a"], ["aa"], id="other anchors"),
        pytest.param("a^b|a$b", [], ["ab", "a"], id="anchors in the middle never hold"),
        pytest.param("(^|a)*b($|c)+", ["b", "aab", "bc"], ["cb"], id="anchors in groups"),
        pytest.param("é+[à-ü]", ["ééü"], ["e", "é"], id="characters beyond ASCII"),
        pytest.param("^(.*?;)?(user=jason)(;.*)?$", ["user=jason", "a;user=jason;b"], ["user=jasonx"], id="a cookie"),
    ],
)
def test_matches_the_whole_text(pattern: str, matching: list[str], other: list[str]) -> None:
    matches = compile_regex(pattern)
    assert {text: matches(text.encode()) for text in matching} == dict.fromkeys(matching, True)
    assert {text: matches(text.encode()) for text in other} == dict.fromkeys(other, False)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param(r"(a)\1", "back-references", id="back-reference"),
        pytest.param("(?P<a>x)(?P=a)", "back-references", id="named back-reference"),
        pytest.param("(?=a)b", "look-around", id="look-ahead"),
        pytest.param("(?<!a)b", "look-around", id="look-behind"),
        pytest.param("(?>a)b", "atomic", id="atomic group"),
        pytest.param("a++", "repeat of a repeat", id="possessive repeat"),
        pytest.param("a**", "repeat of a repeat", id="repeat of a repeat"),
        pytest.param("*a", "nothing to repeat", id="nothing to repeat"),
        pytest.param("(a", "not closed", id="an open group"),
        pytest.param("a)", "unmatched", id="a group closed twice"),
        pytest.param("[a", "too early", id="an open class"),
        pytest.param("a\\", "too early", id="a lone backslash"),
        pytest.param("[z-a]", "backwards", id="a backwards range"),
        pytest.param("[[:foo:]]", "no character class", id="an unknown class"),
        pytest.param(r"\pL", "not supported", id="a Unicode class"),
        pytest.param(r"\bfoo\b", "word boundaries", id="a word boundary"),
        pytest.param("(?m)^a", "not supported", id="multi-line mode"),
        pytest.param("a{2,1}", "out of range", id="counts in the wrong order"),
        pytest.param("a{1001}", "out of range", id="a count beyond RE2's"),
        pytest.param("(?P<1>a)", "group name", id="a bad group name"),
        pytest.param(r"\x{110000}", "beyond Unicode", id="a character beyond Unicode"),
        pytest.param("a" * 5000, "more than", id="a giant"),
        pytest.param("(" * 200 + ")" * 200, "deep", id="deep nesting"),
        pytest.param("((a{1000}){1000}){1000}", "too large", id="counts of counts"),
        pytest.param("(((){1000}){1000}){1000}", "too large", id="counts of nothing"),
        pytest.param("(a|b)*a(a|b){14}", "memory", id="an exponential automaton"),
        pytest.param("[à-\uffff]", "beyond ASCII", id="a giant class"),
    ],
)
def test_refuses(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidRegex, match=reason):
        compile_regex(pattern)


_PATTERNS = st.recursive(
    st.sampled_from(["a", "b", "c", ".", "[ab]", "[^b]", r"\w", "", "^", "$"]),
    lambda inner: st.one_of(
        st.builds("(?:{}){}".format, inner, st.sampled_from(["", "*", "+", "?", "{2}", "{1,2}", "{0,1}?"])),
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(_PATTERNS, st.text("abc", max_size=8))
def test_agrees_with_a_backtracking_matcher(pattern: str, text: str) -> None:
    # `$` alone differs: Python's also holds before a last newline, which these texts do not have.
    assert compile_regex(pattern)(text.encode()) == (re.fullmatch(pattern, text) is not None)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_any_pattern_compiles_or_is_refused(pattern: str) -> None:
    try:
        matches = compile_regex(pattern)
    except InvalidRegex:
        return
    assert isinstance(matches(b""), bool)
    if not set(pattern) & set("\\.+*?()|[]{}^$"):
        assert matches(pattern.encode())
        assert not matches(pattern.encode() + b"x")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=20))
def test_any_bytes_can_be_compared(text: bytes) -> None:
    assert compile_regex("(?s)(.|[^.])*")(text) == _is_loose_utf8(text)


def _is_loose_utf8(text: bytes) -> bool:
    """Lead and continuation bytes in order, surrogates and overlong forms of three and four bytes allowed."""
    shape = rb"(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})*"
    return re.fullmatch(shape, text) is not None


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(.*)(.*)(.*)(.*)x", "(a+)+$b"])
def test_patterns_that_make_others_hang_look_at_each_byte_once(pattern: str) -> None:
    # 60 kB at one look-up a byte is milliseconds; a backtracking matcher would need longer than the universe.
    assert compile_regex(pattern)(b"a" * 60_000) is False
