"""Labels and annotations of the pod, from the files of the kubelet's downward API: `KEY="VALUE"`, a line each.

The kubelet writes them with Go's `fmt.Sprintf("%v=%q\\n")` (pkg/fieldpath/fieldpath.go), so that values are quoted as
by strconv.Quote: whatever they hold, each is one line. Pure but for `read`.
"""

import re
from pathlib import Path

MAX_FILE_BYTES = 2 * 1024 * 1024
"""Annotations of an object have 256 KiB at most; quoting makes them at most four times as long."""

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"\Z')


class WrongPodFile(ValueError):
    """What is wrong, with its line."""


def read_pairs(path: Path) -> dict[str, str]:
    """Raises OSError, WrongPodFile."""
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise WrongPodFile(f"is longer than {MAX_FILE_BYTES} bytes")
    return parse_pairs(data.decode("utf-8", "replace"))


def parse_pairs(text: str) -> dict[str, str]:
    """Raises WrongPodFile."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        key, equals, quoted = line.partition("=")
        if not equals or not key or not _QUOTED.match(quoted):
            raise WrongPodFile(f'line {number}: is not KEY="VALUE", as the downward API writes it')
        try:
            pairs[key] = _ESCAPE.sub(_unescape, quoted[1:-1])
        except (KeyError, ValueError):
            raise WrongPodFile(f"line {number}: has an escape that Go does not write") from None
    return pairs


def _unescape(match: re.Match[str]) -> str:
    if match[4] is not None:
        return _SIMPLE[match[4]]
    number = int(match[1] or match[2] or match[3], 16)
    if match[1] is not None and number >= 0x80:
        return "\ufffd"  # a byte that was no UTF-8
    return chr(number)
