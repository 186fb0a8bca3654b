"""Prometheus's text format 0.0.4, label order as given. prometheus-client sorts labels; Istio's order is a contract."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from sidecar.agent import openmetrics
from sidecar.config.messages import Exemplar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def is_valid(name: str, labels: Labels) -> bool:
    """Whether a metric may be shown; one bad line would make Prometheus drop the whole answer."""
    return bool(_NAME.match(name)) and all(_LABEL_NAME.match(key) and not key.startswith("__") for key, _ in labels)


def escape(value: str) -> str:
    """A label's value."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """`a="1",b="2"`."""
    return ",".join(f'{key}="{escape(value)}"' for key, value in labels)


def number(value: float) -> str:
    """Without a needless point or exponent; Go's reader and people both prefer `5` to `5.0`."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text := repr(value), text)


def header(name: str, kind: str, help_text: str, *, is_open: bool = False) -> str:
    """The two comment lines of a family, in the text format or, `is_open`, in OpenMetrics."""
    escaped = help_text.replace("\\", "\\\\").replace("\n", "\\n")
    if is_open:
        return openmetrics.header(name, kind, escaped)
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


def sample(name: str, labels: str, value: float) -> str:
    """One line; `labels` as `label_text` gives it."""
    return f"{name}{{{labels}}} {number(value)}\n" if labels else f"{name} {number(value)}\n"


def _exemplar(seen: Exemplar) -> str:
    return f' # {{trace_id="{escape(seen.trace_id)}"}} {number(seen.duration_ms)} {seen.time:.3f}'


class Histogram:
    """Lines of histograms with the same bounds, which are formatted once."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = [f'le="{number(bound)}"' for bound in bounds] + ['le="+Inf"']

    def lines(
        self,
        name: str,
        labels: str,
        buckets: Sequence[int],
        total: float,
        exemplars: Mapping[int, Exemplar] = MappingProxyType({}),
    ) -> Iterable[str]:
        """`buckets` are not cumulative and end with the overflow; the lines are cumulative. `exemplars` by bucket,
        which OpenMetrics alone has."""
        count = 0
        lead = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
        for index, (bound, grown) in enumerate(zip(self._bounds, buckets, strict=True)):
            count += grown
            seen = exemplars.get(index)
            yield f"{lead}{bound}}} {count}\n" if seen is None else f"{lead}{bound}}} {count}{_exemplar(seen)}\n"
        yield sample(f"{name}_sum", labels, total)
        yield sample(f"{name}_count", labels, count)
