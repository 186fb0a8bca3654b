"""Whatever a manifest looks like: the result says what it should, comments stay, twice is once, removal restores it."""

import random
import re
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control.api import yaml_documents
from control.injector import InjectorSettings
from remora.documents import Document
from remora.inject.changes import injection, removal
from remora.inject.manifest import Manifest, changed
from tests.control.injector.strategies import SETTINGS, pods
from tests.remora.inject.styles import spelled

TOUCHED = frozenset({"labels", "annotations", "initContainers", "containers", "volumes", "imagePullSecrets"})
KINDS = {
    ("v1", "Pod"): lambda pod: pod,
    ("apps/v1", "Deployment"): lambda pod: {"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": pod}},
    ("batch/v1", "CronJob"): lambda pod: {
        "spec": {"jobTemplate": {"spec": {"template": pod}}, "schedule": "* * * * *"}
    },
    ("v1", "List"): lambda pod: {"items": [{"apiVersion": "v1", "kind": "Pod", **pod}, {"kind": "Service", "x": None}]},
}


def put_in(text: str, how: InjectorSettings) -> Manifest:
    return changed(Document("m", text), partial(injection, settings=how, default_namespace="shop", namespaces={}))


def taken_out(text: str) -> Manifest:
    return changed(Document("m", text), removal)


def data(text: str) -> list[Any]:
    found = list(yaml_documents.read(text))
    assert not any(isinstance(each, yaml_documents.NotYaml) for each in found), found
    return [each.value for each in found if isinstance(each, yaml_documents.Document)]


def manifest(pod: dict[str, Any], seed: int, plain_below: frozenset[str] = frozenset()) -> str:
    rng = random.Random(seed)
    version, kind = rng.choice(list(KINDS))
    text = spelled({"apiVersion": version, "kind": kind, **KINDS[version, kind](pod)}, rng, plain_below)
    if rng.random() < 0.5:
        text = f"---\n# first\n{text}---\n{spelled({'kind': 'ConfigMap', 'data': {'a': 'b'}}, rng)}"
    if rng.random() < 0.3:
        text = text.replace("\n", "\r\n")
    return text.rstrip("\r\n") if rng.random() < 0.3 else text


SEEDS = st.integers(0, 10_000)


@given(SEEDS, pods(), SETTINGS)
@settings(max_examples=20)
def test_the_text_says_what_it_should_and_removal_brings_the_data_back(seed: int, pod: Any, how: Any) -> None:
    text = manifest(pod, seed)
    injected = put_in(text, how)
    assert injected.errors == []
    assert "remora-proxy" in injected.text
    assert data(injected.text) == injected.documents
    again = put_in(injected.text, how)
    assert again.text == injected.text
    restored = taken_out(injected.text)
    assert restored.errors == []
    assert data(restored.text) == data(text)


@given(SEEDS, pods(), SETTINGS)
@settings(max_examples=20)
def test_every_byte_around_what_is_injected_stays_and_removal_restores_the_file(seed: int, pod: Any, how: Any) -> None:
    for container in (*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]):
        for field in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            container.pop(field, None)
    spec, metadata = pod["spec"], pod.get("metadata", {})
    for place in (spec, metadata):
        for field in TOUCHED & place.keys():
            if not place[field]:  # what is written as [] or {} is not written so any more
                del place[field]
    if not metadata:
        pod.pop("metadata", None)
    how = how.model_copy(update={"default_templates": ("sidecar",)})
    text = manifest(pod, seed, TOUCHED)
    injected = put_in(text, how)
    assert not [line for line in injected.remarks if "written anew" in line]
    assert re.findall("# comment [0-9]+", injected.text) == re.findall("# comment [0-9]+", text)
    lines = iter(injected.text.splitlines())
    missing = [line for line in text.splitlines() if "prometheus.io/" not in line and line not in lines]
    assert missing == []
    assert taken_out(injected.text).text == text


def test_twice_is_once_for_another_spelling_of_the_settings() -> None:
    text = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: b}]}\n"
    first = put_in(text, InjectorSettings())
    assert put_in(first.text, InjectorSettings(native_sidecars=False)).text == first.text
