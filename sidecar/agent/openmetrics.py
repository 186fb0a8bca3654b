"""OpenMetrics, which has exemplars: whether a scraper prefers it, and the older text format turned into it.

https://prometheus.io/docs/specs/om/open_metrics_spec/; what a sample is called stays the same in both.
"""

import re

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
MEDIA_TYPE = "application/openmetrics-text"
END = "# EOF\n"

_COMMENT = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?\Z")
_KINDS = frozenset({"gauge", "histogram", "summary"})


def is_preferred(accept: str) -> bool:
    """Whether an Accept header (RFC 9110 section 12.5.1) asks for OpenMetrics rather than for the text format."""
    quality = {MEDIA_TYPE: 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        if media not in quality:
            continue
        found = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    found = min(1.0, max(0.0, float(value)))
                except ValueError:
                    found = 0.0
            elif name.strip() == "version" and media == MEDIA_TYPE and value.strip('" ') not in ("1.0.0", "0.0.1"):
                found = 0.0
        quality[media] = max(quality[media], found)
    return quality[MEDIA_TYPE] > 0 and quality[MEDIA_TYPE] >= quality["text/plain"]


def header(name: str, kind: str, help_text: str) -> str:
    """The two comment lines of a family; `help_text` is escaped as the text format wants it."""
    family = name
    if kind == "counter" and name.endswith("_total"):
        family = name.removesuffix("_total")
    elif kind not in _KINDS:
        kind = "unknown"  # a counter must be called _total; Envoy's statistics are not
    escaped = help_text.replace('"', '\\"')
    return f"# HELP {family} {escaped}\n# TYPE {family} {kind}\n"


def convert(text: str) -> str:
    """Lines of the text format 0.0.4 as OpenMetrics', without its end."""
    helps: dict[str, str] = {}
    converted: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            if line.strip():
                converted.append(f"{_with_seconds(line)}\n")
        elif (found := _COMMENT.match(line)) is not None:
            what, name, rest = found[1], found[2], found[3] or ""
            if what == "HELP":
                helps[name] = rest  # what a family is called its type decides, which comes after
            else:
                converted.append(header(name, rest, helps.get(name, "")))
    return "".join(converted)


def _with_seconds(line: str) -> str:
    """Times are milliseconds in the one format and seconds in the other."""
    head, brace, rest = line.rpartition("}")
    words = rest.split()
    if len(words) == (2 if brace else 3):
        words[-1] = f"{int(words[-1]) / 1000:.3f}"
        return f"{head}{brace} {' '.join(words)}" if brace else " ".join(words)
    return line.strip()
