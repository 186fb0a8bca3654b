"""The text of a YAML document changed so that it says something else, and nothing of it touched that says the same.

Two documents, before and after, are compared beside the nodes that the text was read to; each difference is a few
characters put in, or taken out, at a place. Comments, quotes and indentation of the rest stay as they are. Whether the
result says what was meant is for the caller to verify: what cannot be done is CannotEdit.
"""

from dataclasses import dataclass
from typing import Any, TypeGuard

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from control.injector.json_patch import common, names_of, same
from remora.inject import render


class CannotEdit(Exception):
    """The text is written in a way that small changes cannot be made in."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters `start` to `end` become `text`."""

    start: int
    end: int
    text: str


def edited(text: str, edits: list[Edit]) -> str:
    """`text` after all edits; those at one place in the order in which they are given."""
    ending = "\r\n" if "\r\n" in text else "\n"
    pieces, position = [], 0
    for edit in sorted(edits, key=lambda each: (each.start, each.end)):
        if edit.start < position:
            raise CannotEdit("two changes meet")
        pieces += [text[position : edit.start], edit.text.replace("\n", ending)]
        position = edit.end
    result = "".join([*pieces, text[position:]])
    # A last line that was not ended stays one that is not, whichever it is now.
    return result if text.endswith("\n") else result.removesuffix(ending)


def edits(text: str, node: Node, before: Any, after: Any) -> list[Edit]:
    """What makes the text of `node`, which says `before`, say `after`. Raises CannotEdit."""
    editor = _Editor(text, _offset(node))
    editor.change(node, before, after, None)
    return editor.edits


def _offset(node: Node) -> int:
    """How far this document indents lists below their fields."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(value, SequenceNode) and not value.flow_style and value.value:
                return int(max(0, min(4, value.start_mark.column - key.start_mark.column)))
            if isinstance(value, MappingNode) and (found := _offset(value)) >= 0:
                return found
    return -1


class _Editor:
    def __init__(self, text: str, offset: int) -> None:
        self._text = text
        self._lists = max(0, offset)
        self.edits: list[Edit] = []

    def change(self, node: Node, before: Any, after: Any, colon: int | None) -> None:
        """`colon` is where the field's name ends; None for a list's item, or a whole document."""
        if same(before, after) and (not isinstance(after, dict) or list(before) == list(after)):
            return
        if isinstance(node, MappingNode) and isinstance(after, dict) and after:
            if node.flow_style:
                self._flow_mapping(node, before, after)
            else:
                self._mapping(node, before, after)
        elif isinstance(node, SequenceNode) and isinstance(after, list) and after:
            if (node.flow_style or not self._list(node, before, after, colon)) and not self._items(node, before, after):
                self._rewrite(node, after, colon)
        else:
            self._rewrite(node, after, colon)

    def _items(self, node: SequenceNode, before: list[Any], after: list[Any]) -> bool:
        """One by one, where there are as many as before. False: not possible."""
        if len(before) != len(after):
            return False
        done = len(self.edits)
        try:
            for child, old, new in zip(node.value, before, after, strict=True):
                self.change(child, old, new, None)
        except CannotEdit:
            del self.edits[done:]
            return False
        return True

    def _mapping(self, node: MappingNode, before: dict[str, Any], after: dict[str, Any]) -> None:
        pairs = dict(zip(before, node.value, strict=True))
        column = node.value[0][0].start_mark.column
        kept = [key for key in before if key in after]
        if not kept:
            raise CannotEdit("nothing of a mapping remains")
        for index, key in enumerate(before):
            if key not in after:
                following = node.value[index + 1][0] if index + 1 < len(node.value) else None
                name, value = node.value[index]
                self._remove(name, value, following)
        previous: str | None = None
        for key, value in after.items():
            if key in before:
                name, node_value = pairs[key]
                self.change(node_value, before[key], value, self._colon(name))
                previous = key
                continue
            lines = render.entry(key, value, self._lists)
            if previous is None:
                start = pairs[kept[0]][0].start_mark.index
                joined = "".join(f"{line}\n{' ' * column}" for line in lines)
                self.edits.append(Edit(start, start, joined))
            else:
                self._put_after(self._end(pairs[previous][1]), lines, column)

    def _flow_mapping(self, node: MappingNode, before: dict[str, Any], after: dict[str, Any]) -> None:
        if list(before) != list(after):
            self._replace(node, render.flow(after))
            return
        for key, (name, value) in zip(before, node.value, strict=True):
            if isinstance(after[key], dict | list) or isinstance(value, ScalarNode):
                self._in_flow(value, before[key], after[key], name)

    def _in_flow(self, node: Node, before: Any, after: Any, name: Node) -> None:
        if same(before, after):
            return
        if isinstance(node, MappingNode) and isinstance(after, dict) and after:
            self._flow_mapping(node, before, after)
        elif _is_empty(node):
            self.edits.append(Edit(self._colon(name), self._colon(name), f" {render.flow(after)}"))
        else:
            self._replace(node, render.flow(after))

    def _list(self, node: SequenceNode, before: list[Any], after: list[Any], colon: int | None) -> bool:
        old, new = names_of(before), names_of(after)
        kept = common(old, new) if old is not None and new is not None else None
        if old is None or new is None or not kept:
            return False
        column = node.start_mark.column
        children = dict(zip(old, node.value, strict=True))
        for name, child in children.items():
            if name not in kept:
                self._remove_lines(self._dash(child), self._end(child))
        previous: str | None = None
        for name, value in zip(new, after, strict=True):
            if name in kept:
                self.change(children[name], before[old.index(name)], value, None)
                previous = name
            elif previous is not None:
                self._put_after(self._end(children[previous]), render.item(value, self._lists), column)
            else:
                if colon is None:
                    raise CannotEdit("an item comes before the first of a list in a list")
                # Above the comments of what was first, which stay with it.
                self._put_after(colon, render.item(value, self._lists), column)
        return True

    def _rewrite(self, node: Node, after: Any, colon: int | None) -> None:
        """All of the value anew."""
        collection = isinstance(after, dict | list) and bool(after)
        if colon is None:
            if collection or not isinstance(node, ScalarNode):
                raise CannotEdit("an item of a list changes its shape")
            self._replace(node, render.scalar(after))
        elif isinstance(node, MappingNode | SequenceNode) and not node.flow_style:
            self._rewrite_block(node, after, colon, collection)
        elif collection and _is_empty(node):
            self._put_after(colon, render.block(after, self._lists), self._inside(after, colon))
        elif collection:
            lines = "".join(f"\n{' ' * self._inside(after, colon)}{line}" for line in render.block(after, self._lists))
            self.edits.append(Edit(colon, self._end(node), lines))
        elif _is_quoted(node) and isinstance(after, str) and after.isprintable():
            self._replace(node, _quoted(after, str(node.style)))
        elif isinstance(node, ScalarNode) and not node.style and node.value and after is not None:
            self._replace(node, render.flow(after))
        else:
            said = "" if after is None else f" {render.flow(after)}"
            self.edits.append(Edit(colon, colon if _is_empty(node) else self._end(node), said))

    def _rewrite_block(self, node: Node, after: Any, colon: int, collection: bool) -> None:
        """What stands behind the colon, a comment perhaps, stays."""
        start, column = self._line_end(colon), self._inside(after, colon)
        if start > node.start_mark.index:
            raise CannotEdit("a collection begins on the line of its field")
        lines = render.block(after, self._lists) if collection else []
        if not collection and after is not None:
            self.edits.append(Edit(colon, colon, f" {render.flow(after)}"))
        text = "".join(f"{' ' * column}{line}\n" for line in lines)
        self.edits.append(Edit(start, self._line_end(self._end(node)), text))

    def _inside(self, value: Any, colon: int) -> int:
        """The column of what is below a field."""
        return self._column_of_line(colon) + (self._lists if isinstance(value, list) else 2)

    def _replace(self, node: Node, text: str) -> None:
        self.edits.append(Edit(node.start_mark.index, self._end(node), text))

    def _remove(self, name: Node, value: Node, following: Node | None) -> None:
        """A field; where it stands behind a list's dash, the next one takes its place."""
        start = name.start_mark.index
        if not self._text[self._line_start(start) : start].strip():
            self._remove_lines(start, max(self._end(value), self._colon(name)))
        elif following is None:
            raise CannotEdit("the first field of a list's item goes, and no other follows")
        else:
            self.edits.append(Edit(start, following.start_mark.index, ""))

    def _remove_lines(self, start: int, end: int) -> None:
        line = self._line_start(start)
        if self._text[line:start].strip():
            raise CannotEdit("what goes does not begin its line")
        self.edits.append(Edit(line, self._line_end(end), ""))

    def _put_after(self, position: int, lines: list[str], column: int) -> None:
        """Lines of their own below the one that `position` is in."""
        end = self._line_end(position)
        if self._text[end - 1 : end] == "\n":
            text = "".join(f"{' ' * column}{line}\n" for line in lines)
        else:  # the text's last line, which is not ended
            text = "".join(f"\n{' ' * column}{line}" for line in lines)
        self.edits.append(Edit(end, end, text))

    def _end(self, node: Node) -> int:
        """Behind the last character of what the node says."""
        if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return max(self._end(last[1]), self._colon(last[0])) if isinstance(last, tuple) else self._end(last)
        end = int(node.end_mark.index)
        if _is_empty(node):  # its mark is where the next thing begins
            return len(self._text[:end].rstrip())
        if isinstance(node, ScalarNode) and node.style in ("|", ">"):
            # Its mark is on a line after; the blank lines before that are its own only with a plus.
            while end and self._text[end - 1] in " \r\n" and "+" not in self._header(node):
                end -= 1
            return end - 1 if end and self._text[end - 1] == "\n" else end
        return end

    def _header(self, node: Node) -> str:
        start = node.start_mark.index
        return self._text[start : self._line_end(start)].split("#")[0]

    def _colon(self, name: Node) -> int:
        """Behind the colon of a field."""
        return self._text.index(":", name.end_mark.index) + 1

    def _dash(self, item: Node) -> int:
        start = self._text.rindex("-", 0, item.start_mark.index)
        if self._text[start + 1 : item.start_mark.index].strip():
            raise CannotEdit("something stands between a list's dash and its item")
        return start

    def _line_start(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _line_end(self, position: int) -> int:
        """Behind the line feed of the line that `position` is in; of one that is behind a line feed, itself."""
        if position and self._text[position - 1] == "\n":
            return position
        found = self._text.find("\n", position)
        return len(self._text) if found < 0 else found + 1

    def _column_of_line(self, position: int) -> int:
        """Where the field begins whose colon is before `position`, behind dashes if there are any."""
        line = self._text[self._line_start(position) : position]
        return len(line) - len(line.lstrip(" -"))


def _is_empty(node: Node) -> bool:
    """Null, by nothing that is written."""
    return isinstance(node, ScalarNode) and not node.style and not node.value


def _is_quoted(node: Node) -> TypeGuard[ScalarNode]:
    return isinstance(node, ScalarNode) and node.style in ("'", '"')


def _quoted(text: str, style: str) -> str:
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
