"""Full matches of RE2 patterns in time linear in the text: a deterministic automaton, built when routes are compiled.

Python's `re` backtracks: a pattern that is harmless in Envoy could hang a proxy on one request. Here one byte of text
costs one look-up, whatever the pattern; a pattern whose automaton would be too large is refused instead.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from sidecar.routing.regex_syntax import Chars, Choice, End, InvalidRegex, Node, Ranges, Repeat, Sequence, Start, parse

MAX_STATES: Final = 2_000
"""Of the deterministic automaton. Common patterns need fewer than a hundred."""
_MAX_PARTS: Final = 10_000
_MAX_STEPS: Final = 3_000_000
"""Of building: about a second of one core."""
_MAX_LISTED_CHARACTERS: Final = 1_024

_TOO_COMPLEX = "matching the pattern would need too much memory; simplify it"
_TOO_LARGE = "the pattern is too large; lower its repeat counts"

Row = dict[int, "Row | None"]
"""A state: class of the next byte -> next state; the key _ACCEPT is there if the text may end here."""
_ACCEPT = -1


@lru_cache(maxsize=512)
def compile_regex(pattern: str) -> Callable[[bytes], bool]:
    """A test whether the whole of a text matches. Raises InvalidRegex."""
    nfa = _Nfa()
    end = nfa.add(parse(pattern), nfa.start)
    start, classes = _determine(nfa, end)

    def matches(text: bytes) -> bool:
        row: Row | None = start
        for byte in text.translate(classes):
            row = row.get(byte)  # type: ignore[union-attr]
            if row is None:
                return False
        return _ACCEPT in row  # type: ignore[operator]

    return matches


class _Nfa:
    """Thompson's construction over bytes. States are integers; edges are empty, or by a set of bytes as a bit mask."""

    def __init__(self) -> None:
        self.free: list[list[int]] = []
        self.at_start: list[list[int]] = []
        self.at_end: list[list[int]] = []
        self.edges: list[list[tuple[int, int]]] = []
        self._added = 0
        self.start = self.state()

    def state(self) -> int:
        if len(self.free) >= _MAX_PARTS:
            raise InvalidRegex(_TOO_LARGE)
        self.free.append([])
        self.at_start.append([])
        self.at_end.append([])
        self.edges.append([])
        return len(self.free) - 1

    def add(self, node: Node, at: int) -> int:
        """Append `node` after state `at`; the state in which it is done."""
        self._added += 1
        if self._added > _MAX_PARTS:  # repeats of the empty text make no states, but take time
            raise InvalidRegex(_TOO_LARGE)
        match node:
            case Chars(ranges):
                return self._add_chars(ranges, at)
            case Sequence(items):
                for item in items:
                    at = self.add(item, at)
                return at
            case Choice(items):
                done = self.state()
                for item in items:
                    branch = self.state()
                    self.free[at].append(branch)
                    self.free[self.add(item, branch)].append(done)
                return done
            case Repeat(item, least, most):
                return self._add_repeat(item, least, most, at)
            case Start():
                done = self.state()
                self.at_start[at].append(done)
                return done
            case End():
                done = self.state()
                self.at_end[at].append(done)
                return done

    def _add_repeat(self, item: Node, least: int, most: int | None, at: int) -> int:
        for _ in range(least):
            at = self.add(item, at)
        if most is None:
            loop = self.state()
            self.free[at].append(loop)
            self.free[self.add(item, loop)].append(loop)
            return loop
        done = self.state()
        self.free[at].append(done)
        for _ in range(most - least):
            at = self.add(item, at)
            self.free[at].append(done)
        return done

    def _add_chars(self, ranges: Ranges, at: int) -> int:
        done = self.state()
        ascii_mask = 0
        for low, high in ranges:
            if low < 128:
                ascii_mask |= (1 << min(high, 127) + 1) - (1 << low)
        if ascii_mask:
            self.edges[at].append((ascii_mask, done))
        beyond = [(max(low, 128), high) for low, high in ranges if high >= 128]
        if not beyond:
            return done
        if beyond == [(128, 0x10FFFF)]:
            for lead, more in _UTF8_SHAPES:
                self._add_bytes([lead] + [_TAIL] * more, at, done)
        else:
            if sum(high - low + 1 for low, high in beyond) > _MAX_LISTED_CHARACTERS:
                raise InvalidRegex("large classes of some, but not all, characters beyond ASCII are not supported")
            for low, high in beyond:
                for point in range(low, high + 1):
                    if not 0xD800 <= point <= 0xDFFF:
                        self._add_bytes([1 << byte for byte in chr(point).encode()], at, done)
        return done

    def _add_bytes(self, masks: list[int], at: int, done: int) -> None:
        for mask in masks[:-1]:
            following = self.state()
            self.edges[at].append((mask, following))
            at = following
        self.edges[at].append((masks[-1], done))

    def closure(self, states: Iterable[int], *, start: bool = False, end: bool = False) -> frozenset[int]:
        """All states reached without a byte, at the text's start or end or in between."""
        found = set(states)
        todo = list(found)
        while todo:
            state = todo.pop()
            following = list(self.free[state])
            if start:
                following += self.at_start[state]
            if end:
                following += self.at_end[state]
            for each in following:
                if each not in found:
                    found.add(each)
                    todo.append(each)
        return frozenset(found)


def _span(low: int, high: int) -> int:
    return (1 << high + 1) - (1 << low)


_TAIL = _span(0x80, 0xBF)
_UTF8_SHAPES = ((_span(0xC2, 0xDF), 1), (_span(0xE0, 0xEF), 2), (_span(0xF0, 0xF4), 3))


def _determine(nfa: _Nfa, final: int) -> tuple[Row, bytes]:
    """Subset construction over classes of bytes that no edge tells apart: (start state, byte -> class)."""
    masks = {mask for edges in nfa.edges for mask, _ in edges}
    signatures: dict[tuple[bool, ...], int] = {}
    representatives: list[int] = []
    classes = bytearray(256)
    ordered = sorted(masks)
    for byte in range(256):
        signature = tuple([bool(mask >> byte & 1) for mask in ordered])
        number = signatures.setdefault(signature, len(signatures))
        if number == len(representatives):
            representatives.append(byte)
        classes[byte] = number
    # The first state is its own, even if the same set is reached later: only here do both anchors hold.
    first: Row = {_ACCEPT: None} if final in nfa.closure([nfa.start], start=True, end=True) else {}
    rows: dict[frozenset[int], Row] = {}
    todo = [(nfa.closure([nfa.start], start=True), first)]
    steps = 0
    while todo:
        states, row = todo.pop()
        edges = [edge for state in states for edge in nfa.edges[state]]
        steps += len(edges) * len(representatives) + len(states)
        if steps > _MAX_STEPS:
            raise InvalidRegex(_TOO_COMPLEX)
        for number, byte in enumerate(representatives):
            reached = frozenset([following for mask, following in edges if mask >> byte & 1])
            if not reached:
                continue
            target = nfa.closure(reached)
            known = rows.get(target)
            if known is None:
                if len(rows) >= MAX_STATES:
                    raise InvalidRegex(_TOO_COMPLEX)
                known = rows[target] = {_ACCEPT: None} if final in nfa.closure(target, end=True) else {}
                todo.append((target, known))
            row[number] = known
    return first, bytes(classes)
