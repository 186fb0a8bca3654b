"""YAML as people write it: the same data in many spellings, with comments."""

import json
import random
from typing import Any


def spelled(document: dict[str, Any], rng: random.Random, plain_below: frozenset[str] = frozenset()) -> str:
    """`document` as block YAML: some of it in flow style, some scalars quoted, comments and blank lines between.

    What is below a field named in `plain_below` has no flow style.
    """
    return _Speller(rng, plain_below).document(document)


class _Speller:
    def __init__(self, rng: random.Random, plain_below: frozenset[str]) -> None:
        self._rng = rng
        self._lists = rng.choice([0, 2, 4])
        self._dense = rng.random() < 0.2
        self._plain = plain_below
        self._comments = 0

    def document(self, value: dict[str, Any]) -> str:
        return "".join(f"{line}\n" for line in self._mapping(value, True))

    def _chance(self, one_in: int) -> bool:
        return not self._dense and self._rng.randrange(one_in) == 0

    def _comment(self) -> str:
        self._comments += 1
        return f"# comment {self._comments}"

    def _between(self) -> list[str]:
        lines = [self._comment()] if self._chance(9) else []
        return [*lines, ""] if self._chance(15) else lines

    def _mapping(self, value: dict[str, Any], plain: bool) -> list[str]:
        lines: list[str] = []
        for key, each in value.items():
            lines += self._between() if lines else []
            lines += self._entry(key, each, plain or key in self._plain)
        return lines

    def _entry(self, key: str, value: Any, plain: bool) -> list[str]:
        name = _double(key) if not key.replace("/", "").replace(".", "").isalnum() or self._chance(9) else _safe(key)
        end = f"   {self._comment()}" if self._chance(6) else ""
        below = plain and key in ("metadata", "spec", "template", "jobTemplate", "items", *self._plain)
        if value is None and plain:
            return [f"{name}:{end}"]
        if not isinstance(value, dict | list) or not value or (not below and self._chance(5)):
            return [f"{name}: {self._flow(value)}{end}"]
        if isinstance(value, dict):
            return [f"{name}:{end}", *_indented(self._mapping(value, below), 2)]
        return [f"{name}:{end}", *_indented(self._list(value, below), self._lists)]

    def _list(self, value: list[Any], plain: bool) -> list[str]:
        lines: list[str] = []
        for each in value:
            lines += self._between()
            if isinstance(each, dict) and each and (plain or not self._chance(5)):
                first, *rest = self._mapping(each, plain)
                if first.startswith("#") or not first:
                    lines += ["-", *_indented([first, *rest], 2)]
                else:
                    lines += [f"- {first}", *_indented(rest, 2)]
            elif isinstance(each, str) and each.strip() and each.isprintable() and self._chance(4):
                lines += ["- |-", f"  {each}"] if not each.startswith((" ", "#")) else [f"- {_double(each)}"]
            else:
                lines.append(f"- {self._flow(each)}")
        return lines

    def _flow(self, value: Any) -> str:
        if isinstance(value, dict):
            inside = ", ".join(f"{_double(key)}: {self._flow(each)}" for key, each in value.items())
            return f"{{ {inside} }}" if self._chance(2) and inside else f"{{{inside}}}"
        if isinstance(value, list):
            return "[" + ", ".join(map(self._flow, value)) + "]"
        if isinstance(value, str):
            if value.isprintable() and self._chance(3):
                return "'" + value.replace("'", "''") + "'"
            return _double(value)
        return json.dumps(value)


def _safe(key: str) -> str:
    return key if key.isidentifier() and key not in ("y", "n", "on", "no", "off", "yes", "null") else _double(key)


def _double(text: str) -> str:
    return "".join(
        each if each.isprintable() else f"\\U{ord(each):08x}" for each in json.dumps(text, ensure_ascii=False)
    )


def _indented(lines: list[str], columns: int) -> list[str]:
    return [" " * columns + line if line else line for line in lines]
