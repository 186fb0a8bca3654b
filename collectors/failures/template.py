"""What is left of a message when all that differs from one time to the next is taken out."""

import re

MAX_CHARS = 2_000
"""Of a message that is looked at; what makes it this message is in its beginning."""

_QUOTED = re.compile(r"\"[^\"\n]{1,500}\"|'[^'\n]{1,500}'|`[^`\n]{1,500}`")
_VARYING = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<email>\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b)"
    r"|(?P<address>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b|\[[0-9a-fA-F:]{2,39}\](?::\d{1,5})?)"
    r"|(?P<hex>\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b)"
    r"|(?P<n>(?<![\w.])[-+]?\d+(?:[.,]\d+)*)"
)
_SPACES = re.compile(r"\s+")


def generalize(message: str) -> str:
    """`user 17 not found in "eu"` -> `user <n> not found in <text>`. One line."""
    text = message[:MAX_CHARS].strip()
    text = _QUOTED.sub("<text>", text)
    text = _VARYING.sub(lambda match: f"<{match.lastgroup}>", text)
    return _SPACES.sub(" ", text)


def first_line(message: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in message[:MAX_CHARS].splitlines() if line.strip()), "")
