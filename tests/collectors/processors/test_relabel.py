"""Relabelling as Prometheus does it. Expected values of the tables are those of Prometheus' documentation and code."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.processors.relabel import Relabel, Settings
from collectors.processors.relabel_settings import RelabelRule
from collectors.processors.relabeling import expand, relabel
from collectors.records import Batch, Sample
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, log
from tests.collectors.fakes import Sink

LABELS = {"a": "foo", "b": "bar", "c": "baz"}


def rule(**fields: Any) -> Any:
    return RelabelRule(**fields).rule()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([{"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"}],
         {**LABELS, "d": "choo-choo"}),
        ([{"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"}],
         {**LABELS, "a": "boobam"}),
        ([{"source_labels": ["a"], "regex": "o", "target_label": "d", "replacement": "x"}], LABELS),
        ([{"source_labels": ["a"], "regex": "(f).*", "target_label": "${1}_${2}x", "replacement": "y"}],
         {**LABELS, "f_x": "y"}),
        ([{"source_labels": ["a"], "regex": "(f).*", "target_label": "$1_", "replacement": "y"}], LABELS),
        ([{"source_labels": ["a"], "target_label": "b", "replacement": ""}], {"a": "foo", "c": "baz"}),
        ([{"target_label": "env", "replacement": "laptop"}], {**LABELS, "env": "laptop"}),
        ([{"source_labels": ["a"], "regex": "no", "action": "drop"}], LABELS),
        ([{"source_labels": ["a"], "regex": ".*o.*", "action": "drop"}], None),
        ([{"source_labels": ["a"], "regex": "foo", "action": "keep"}], LABELS),
        ([{"source_labels": ["a"], "regex": "fo", "action": "keep"}], None),
        ([{"source_labels": ["a"], "action": "keepequal", "target_label": "b"}], None),
        ([{"source_labels": ["a"], "action": "dropequal", "target_label": "b"}], LABELS),
        ([{"source_labels": ["c"], "action": "hashmod", "target_label": "d", "modulus": 1000}],
         {**LABELS, "d": "976"}),
        ([{"source_labels": ["a", "b"], "separator": "\n", "action": "hashmod", "target_label": "d", "modulus": 1000}],
         {**LABELS, "d": "734"}),
        ([{"regex": "(b|c)", "action": "labelmap", "replacement": "my_$1"}], {**LABELS, "my_b": "bar", "my_c": "baz"}),
        ([{"regex": "(b|c)", "action": "labeldrop"}], {"a": "foo"}),
        ([{"regex": "(b|c)", "action": "LabelKeep"}], {"b": "bar", "c": "baz"}),
        ([{"source_labels": ["a"], "action": "uppercase", "target_label": "up"}], {**LABELS, "up": "FOO"}),
        ([{"source_labels": ["a"], "action": "lowercase", "target_label": "a"}], LABELS),
    ],
)  # fmt: skip
def test_every_action_does_what_prometheus_does(rules: list[dict[str, Any]], expected: dict[str, str] | None) -> None:
    assert relabel(LABELS, [rule(**each) for each in rules]) == expected


@pytest.mark.parametrize(
    ("template", "expanded"),
    [
        ("$1", "ab"),
        ("${1}c", "abc"),
        ("$1c", ""),
        ("$$1", "$1"),
        ("$9", ""),
        ("${²}", ""),
        ("${word}", "ab"),
        ("a$", "a$"),
        ("$0", "ab-"),
    ],
)
def test_groups_are_expanded_as_go_does(template: str, expanded: str) -> None:
    found = re.fullmatch("(?P<word>.*)-", "ab-")
    assert found is not None
    assert expand(template, found) == expanded


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "explode"}, "there are replace, keep"),
        ({"action": "replace"}, "needs a target_label"),
        ({"action": "hashmod", "target_label": "a"}, "needs a modulus"),
        ({"action": "keep", "modulus": 3}, "no other action takes one"),
        ({"action": "labeldrop", "source_labels": ["a"]}, "takes nothing but a regex"),
        ({"target_label": "a b"}, "is no label name"),
        ({"action": "lowercase", "target_label": "$1"}, "is no label name"),
        ({"source_labels": ["le"], "action": "drop"}, "a histogram is relabelled whole"),
        ({"target_label": "a", "regex": "("}, "is no regular expression"),
        ({"target_label": "a", "regex": "(?=a)b"}, "is no regular expression"),
        ({"target_label": "a", "regexp": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        RelabelRule(**fields)


def sample(name: str, value: float | None = 1.0, at: float = NOW, **labels: str) -> Sample:
    return Sample(name, tuple(sorted(labels.items())), at, value)


async def passed(rules: list[dict[str, Any]], samples: list[Sample]) -> tuple[list[Sample], Telemetry]:
    sink, telemetry = Sink(), Telemetry()
    settings = Settings(rules=tuple(RelabelRule(**each) for each in rules))
    stage = Relabel(tuple(each.rule() for each in settings.rules), telemetry, sink)
    await stage.consume(Batch(logs=[log("1", "stays")], samples=samples))
    assert len(sink.batches[0].logs) == 1
    return sink.batches[0].samples, telemetry


async def test_names_are_a_label_and_labels_of_two_underscores_vanish() -> None:
    rules = [
        {"source_labels": ["__name__"], "regex": "envoy_.*", "action": "drop"},
        {"source_labels": ["__name__"], "regex": "istio_(.*)", "target_label": "__name__", "replacement": "mesh_$1"},
        {"source_labels": ["app"], "target_label": "__tmp"},
    ]
    found, telemetry = await passed(rules, [sample("envoy_x"), sample("istio_requests_total", None, app="a")])
    assert found == [sample("mesh_requests_total", None, app="a")], (
        "the end of a series is relabelled like its readings"
    )
    assert telemetry.registry.get_sample_value("remora_collector_relabelled_samples_total", {"outcome": "dropped"}) == 1


async def test_of_series_that_become_one_the_first_is_kept_and_the_others_are_counted() -> None:
    samples = [sample("x", 1, pod="a"), sample("x", 2, pod="b"), sample("x", 3, NOW + 1, pod="a")]
    found, telemetry = await passed([{"regex": "pod", "action": "labeldrop"}], samples)
    assert [(each.value, each.time) for each in found] == [(1, NOW), (3, NOW + 1)]
    assert (
        telemetry.registry.get_sample_value("remora_collector_relabelled_samples_total", {"outcome": "collided"}) == 1
    )
