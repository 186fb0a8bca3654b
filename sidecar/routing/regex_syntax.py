"""Parse RE2's syntax into a tree.

What RE2 has not (back-references, look-around, possessive repeats) is refused, and so is what we do not carry out (word
boundaries, multi-line mode, Unicode classes), each by name.

https://github.com/google/re2/wiki/Syntax
"""

from dataclasses import dataclass

MAX_PATTERN_CHARACTERS = 4096
MAX_REPEAT = 1000
"""RE2's own limit on x{n}."""
_MAX_DEPTH = 100

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive ranges of code points."""

_LAST = 0x10FFFF
_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = ((9, 10), (12, 13), (32, 32))
_ANY: Ranges = ((0, _LAST),)
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_POSIX: dict[str, Ranges] = {
    "alnum": ((48, 57), (65, 90), (97, 122)), "alpha": ((65, 90), (97, 122)), "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)), "cntrl": ((0, 31), (127, 127)), "digit": _DIGIT, "graph": ((33, 126),),
    "lower": ((97, 122),), "print": ((32, 126),), "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)), "upper": ((65, 90),), "word": _WORD, "xdigit": ((48, 57), (65, 70), (97, 102)),
}  # fmt: skip
_CONTROLS = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}


class InvalidRegex(ValueError):
    """The pattern is not RE2's, uses what we do not support, or would need too much memory."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of `ranges`."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; none: the empty text."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of them."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """`least` to `most` times; None: without end. Greedy or not makes no difference to a full match."""

    item: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """Only at the text's beginning."""


@dataclass(frozen=True, slots=True)
class End:
    """Only at the text's end."""


Node = Chars | Sequence | Choice | Repeat | Start | End


def parse(pattern: str) -> Node:
    """Raises InvalidRegex."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidRegex(f"the pattern has more than {MAX_PATTERN_CHARACTERS} characters")
    parser = _Parser(pattern)
    node = parser.choice(0)
    if parser.at < len(pattern):
        raise InvalidRegex(f"unmatched ) at {parser.at}")
    return node


def merge(ranges: list[tuple[int, int]]) -> Ranges:
    """Sorted and joined."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def negate(ranges: Ranges) -> Ranges:
    """All other characters."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        if start < low:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= _LAST:
        gaps.append((start, _LAST))
    return tuple(gaps)


def _fold(ranges: Ranges) -> Ranges:
    """With the other case of every ASCII letter."""
    more = list(ranges)
    for low, high in ranges:
        for first, last, shift in ((65, 90, 32), (97, 122, -32)):
            if low <= last and high >= first:
                more.append((max(low, first) + shift, min(high, last) + shift))
    return merge(more)


class _Parser:
    """Recursive descent; `at` is the next character's place, `fold` and `dot_newline` the flags in force."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.fold = False
        self.dot_newline = False
        self._depth = 0

    def _peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def _take(self) -> str:
        if self.at >= len(self.text):
            raise InvalidRegex("the pattern ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def choice(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise InvalidRegex(f"groups nested more than {_MAX_DEPTH} deep")
        self._depth = depth
        flags = (self.fold, self.dot_newline)
        branches = [self._sequence(depth)]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._sequence(depth))
        self.fold, self.dot_newline = flags
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            if self.text.startswith(r"\Q", self.at):
                items += self._quoted()
                continue
            item = self._atom(depth)
            if item is not None:
                items.append(self._repeats(item))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _quoted(self) -> list[Node]:
        end = self.text.find(r"\E", self.at)
        literal = self.text[self.at + 2 : end if end >= 0 else len(self.text)]
        self.at = end + 2 if end >= 0 else len(self.text)
        return [self._char(ord(each)) for each in literal]

    def _char(self, point: int) -> Chars:
        ranges: Ranges = ((point, point),)
        return Chars(_fold(ranges) if self.fold else ranges)

    def _atom(self, depth: int) -> Node | None:
        """None for a group that only sets flags."""
        where = self.at
        char = self._take()
        match char:
            case "(":
                return self._group(depth)
            case "[":
                return self._class()
            case ".":
                return Chars(_ANY if self.dot_newline else negate(((10, 10),)))
            case "^":
                return Start()
            case "$":
                return End()
            case "*" | "+" | "?":
                raise InvalidRegex(f"nothing to repeat at {where}")
            case "\\":
                return self._escape()
        return self._char(ord(char))

    def _repeats(self, item: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return item
        least, most = bounds
        if least > MAX_REPEAT or (most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise InvalidRegex(f"repeat count out of range before {self.at}")
        if self._peek() == "?":
            self.at += 1
        elif self._peek() in ("*", "+") and self._peek():
            raise InvalidRegex(f"repeat of a repeat at {self.at}")
        if self._bounds() is not None:
            raise InvalidRegex(f"repeat of a repeat before {self.at}")
        return Repeat(item, least, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        char = self._peek()
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if char in simple:
            self.at += 1
            return simple[char]
        if char == "{":
            end = self.text.find("}", self.at)
            low, comma, high = self.text[self.at + 1 : end].partition(",") if end > 0 else ("", "", "")
            if low.isascii() and low.isdigit() and (not high or (high.isascii() and high.isdigit())):
                if len(low) > 4 or len(high) > 4:
                    raise InvalidRegex(f"repeat count out of range at {self.at}")
                self.at = end + 1
                if not comma:
                    return int(low), int(low)
                return int(low), int(high) if high else None
        return None  # a brace that counts nothing is a character, as in RE2

    def _group(self, depth: int) -> Node | None:
        if self._peek() != "?":
            return self._closed(depth)
        self.at += 1
        rest = self.text[self.at :]
        if rest.startswith(("=", "!", "<=", "<!", ">")):
            raise InvalidRegex("look-around and atomic groups are not RE2's")
        if rest.startswith(("P<", "<")):
            end = rest.find(">")
            name = rest[rest.find("<") + 1 : end]
            if end < 0 or not name.isidentifier():
                raise InvalidRegex(f"bad group name at {self.at}")
            self.at += end + 1
            return self._closed(depth)
        if rest.startswith("P"):
            raise InvalidRegex("back-references are not RE2's")
        return self._flags(depth)

    def _flags(self, depth: int) -> Node | None:
        before = (self.fold, self.dot_newline)
        on = True
        while True:
            match self._take():
                case "i":
                    self.fold = on
                case "s":
                    self.dot_newline = on
                case "U":
                    pass  # greedy or not: no difference to a full match
                case "-" if on:
                    on = False
                case ":":
                    node = self._closed(depth)
                    self.fold, self.dot_newline = before
                    return node
                case ")":
                    return None
                case other:
                    raise InvalidRegex(f"group flag {other!r} is not supported")

    def _closed(self, depth: int) -> Node:
        node = self.choice(depth + 1)
        if self._peek() != ")":
            raise InvalidRegex("a group is not closed")
        self.at += 1
        return node

    def _escape(self) -> Node:
        char = self._take()
        if char in _CLASSES:
            return Chars(_CLASSES[char])
        if char.lower() in _CLASSES:
            return Chars(negate(_CLASSES[char.lower()]))
        match char:
            case "A":
                return Start()
            case "z":
                return End()
            case "b" | "B":
                raise InvalidRegex("word boundaries are not supported")
        self.at -= 1
        return self._char(self._escaped_point())

    def _escaped_point(self) -> int:
        """The character that an escape stands for, inside a class or out."""
        char = self._take()
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "x":
            return self._hex()
        if char == "0":
            digits = ""
            while self._peek() in tuple("01234567") and len(digits) < 2:
                digits += self._take()
            return int(digits or "0", 8)
        if char.isascii() and char.isdigit():
            raise InvalidRegex("back-references are not RE2's")
        if char.isalpha() or not char.isascii():
            raise InvalidRegex(rf"escape \{char} is not supported")
        return ord(char)

    def _hex(self) -> int:
        if self._peek() == "{":
            end = self.text.find("}", self.at)
            digits = self.text[self.at + 1 : end] if end > 0 else ""
            self.at = end + 1
        else:
            digits = self.text[self.at : self.at + 2]
            self.at += 2
            if len(digits) != 2:
                raise InvalidRegex(r"\x needs two hexadecimal digits")
        if not 0 < len(digits) <= 6 or any(each not in "0123456789abcdefABCDEF" for each in digits):
            raise InvalidRegex(r"\x needs hexadecimal digits")
        point = int(digits, 16)
        if point > _LAST:
            raise InvalidRegex(r"\x is beyond Unicode")
        return point

    def _class(self) -> Chars:
        inverted = self._peek() == "^"
        self.at += inverted
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            ranges += self._class_item()
        self.at += 1
        merged = merge(ranges)
        if self.fold:
            merged = _fold(merged)
        merged = negate(merged) if inverted else merged
        if not merged:
            raise InvalidRegex("a character class that matches nothing")
        return Chars(merged)

    def _class_item(self) -> list[tuple[int, int]]:
        if self.text.startswith("[:", self.at):
            return self._posix()
        if self._peek() == "\\":
            name = self.text[self.at + 1 : self.at + 2]
            if name and name in _CLASSES:
                self.at += 2
                return list(_CLASSES[name])
            if name and name.lower() in _CLASSES:
                self.at += 2
                return list(negate(_CLASSES[name.lower()]))
        low = self._class_point()
        if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
            self.at += 1
            high = self._class_point()
            if high < low:
                raise InvalidRegex(f"a class's range is backwards before {self.at}")
            return [(low, high)]
        return [(low, low)]

    def _class_point(self) -> int:
        char = self._take()
        return self._escaped_point() if char == "\\" else ord(char)

    def _posix(self) -> list[tuple[int, int]]:
        end = self.text.find(":]", self.at)
        name = self.text[self.at + 2 : end] if end > 0 else ""
        inverted = name.startswith("^")
        ranges = _POSIX.get(name.removeprefix("^"))
        if ranges is None:
            raise InvalidRegex(f"[:{name}:] is no character class")
        self.at = end + 2
        return list(negate(ranges) if inverted else ranges)
