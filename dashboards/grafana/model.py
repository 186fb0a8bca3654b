"""What a dashboard of ours is made of, before Grafana's words: boards of rows of panels of queries. No SDK here, so
that checks and the evaluation of every expression read it without building anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a panel draws."""

    LINES = "timeseries"
    NUMBER = "stat"
    HEATMAP = "heatmap"
    TABLE = "table"


class Unit:
    """Grafana's unit ids that the boards use. https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts"""

    PER_SECOND = "ops"
    REQUESTS = "reqps"
    RATIO = "percentunit"
    SECONDS = "s"
    MILLISECONDS = "ms"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    COUNT = "short"
    CORES = "percentunit"
    """A whole core is 100 %."""
    WHEN = "dateTimeFromNow"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression with the name that its series get."""

    expr: str
    legend: str
    may_be_empty: str = ""
    """Why a healthy, busy mesh may have no series for it; empty: it must have one."""
    exemplars: bool = False
    column: str = ""
    """In a table: the heading of its values."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `value` on, `color`; None is the beginning of the scale."""

    value: float | None
    color: str


SHOULD_BE_ZERO = (Threshold(None, "green"), Threshold(0.000001, "red"))
SHOULD_BE_WHOLE = (Threshold(None, "red"), Threshold(0.99, "orange"), Threshold(0.999, "green"))
"""Of a share: less than three nines is worth a look."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click on a series leads."""

    address: str
    """With Grafana's `${__field.labels.NAME}`, in a table `${__data.fields.NAME}`."""
    title: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing. What it says of its unit holds for every query."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    width: int = 8
    """Of 24 columns."""
    height: int = 8
    stacked: bool = False
    thresholds: tuple[Threshold, ...] = ()
    minimum: float | None = 0
    maximum: float | None = None
    decimals: int | None = None
    link: Link | None = None
    units: tuple[tuple[str, str], ...] = ()
    """In a table: units of the columns that have another one than the panel."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at a board's top. Either `label` of a metric, or fixed `values`."""

    name: str
    title: str
    description: str
    query: str = ""
    """As in Grafana: `label_values(SELECTOR, LABEL)`."""
    values: tuple[str, ...] = ()
    default: str = ""
    """Of fixed values. Empty: all."""
    multi: bool = True
    keep: str = "/^(?!unknown$).+/"
    """A regular expression of JavaScript: which of the values are offered."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks in time on every panel of a board."""

    name: str
    expr: str
    title: str
    color: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    """Never changes: links and bookmarks hold it."""
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    annotations: tuple[Annotation, ...] = ()
    home: str = "now-1h"
    """The time range that it opens with begins here."""

    def panels(self) -> Iterator[Panel]:
        """Every panel, from the top."""
        for row in self.rows:
            yield from row.panels

    def queries(self) -> Iterator[tuple[Panel, Query]]:
        """Every query with its panel."""
        for panel in self.panels():
            for query in panel.queries:
                yield panel, query
