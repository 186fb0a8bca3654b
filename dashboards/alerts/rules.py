"""What Prometheus' rule files are made of, and their YAML.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML

HEADER = "# Made by `python -m dashboards.alerts`; edit dashboards/alerts/*.py and run it again.\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """A series kept under a name of its own: `level:metric:operations`."""

    name: str
    expression: str

    def document(self) -> dict[str, Any]:
        """As the rule file has it."""
        return {"record": self.name, "expr": self.expression}


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that somebody is told of."""

    name: str
    expression: str
    severity: str
    """"page": somebody gets up; "ticket": somebody looks the next day."""
    summary: str
    """One line, with what is concerned."""
    description: str
    """What it means, and the first command to run."""
    for_s: float = 0.0
    """How long the condition must hold."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As the rule file has it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            **({"for": duration(self.for_s)} if self.for_s else {}),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {"summary": self.summary, "description": self.description},
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    rules: tuple[Recording | Alert, ...]
    interval_s: float = 0.0
    """0: Prometheus' own `evaluation_interval`."""

    def document(self) -> dict[str, Any]:
        """As the rule file has it."""
        interval = {"interval": duration(self.interval_s)} if self.interval_s else {}
        return {"name": self.name, **interval, "rules": [rule.document() for rule in self.rules]}


def duration(seconds: float) -> str:
    """Prometheus' way to write a time: `5m`, `1h`, `1d`, `2500ms`."""
    millis = round(seconds * 1000)
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if millis >= length and millis % length == 0:
            return f"{millis // length}{unit}"
    return f"{millis}ms"


def render(groups: Iterable[Group]) -> str:
    """A rule file."""
    return HEADER + to_yaml({"groups": [group.document() for group in groups]})


def to_yaml(document: Any) -> str:
    """Block style, keys in the order given."""
    yaml = YAML()
    yaml.width = 4096  # expressions stay on one line, as people search for them
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
