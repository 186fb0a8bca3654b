"""The record of an injection undoes it: exactly, and, after somebody's edits, all but the edits."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.injector import Injected, InjectorSettings, NamespaceFacts, inject
from control.injector.json_patch import apply, same
from control.injector.restore import BadRecord, record, restore
from control.injector.status import NotInjected, remove
from tests.control.injector.test_json_patch import DOCUMENTS

MAPPINGS = st.dictionaries(st.sampled_from(["metadata", "spec", "annotations", "volumes", "x"]), DOCUMENTS, max_size=4)


@given(before=MAPPINGS, after=MAPPINGS)
def test_what_is_recorded_of_two_documents_makes_the_first_of_the_second(before: Any, after: Any) -> None:
    assert same(restore(after, record(before, after)), before)


@given(after=MAPPINGS, entries=DOCUMENTS)
def test_a_record_that_is_none_is_refused_or_passed_by_and_never_an_exception(after: Any, entries: Any) -> None:
    before = copy.deepcopy(after)
    try:
        found = restore(after, [{"at": entries if isinstance(entries, list) else [entries]}])
    except BadRecord:
        pass
    else:
        assert found.keys() <= before.keys()
    assert same(after, before)


def injected_web() -> tuple[dict[str, Any], dict[str, Any]]:
    pod = {
        "metadata": {"name": "web"},
        "spec": {
            "containers": [
                {"name": "web", "image": "w", "livenessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 3}}
            ]
        },
    }
    outcome = inject(pod, NamespaceFacts("shop", {"remora.io/injection": "enabled"}), InjectorSettings())
    assert isinstance(outcome, Injected)
    return pod, apply(pod, outcome.patch)


def test_what_was_added_after_injection_stays_when_it_is_undone() -> None:
    pod, after = injected_web()
    after["metadata"]["annotations"]["mine"] = "1"
    after["spec"]["containers"].insert(0, {"name": "new", "image": "n"})
    after["spec"]["initContainers"].append({"name": "setup", "image": "s"})
    after["spec"]["volumes"].insert(0, {"name": "data", "emptyDir": {}})
    restored = remove(after)
    assert restored["metadata"] == {"name": "web", "annotations": {"mine": "1"}}
    assert restored["spec"] == {
        "containers": [{"name": "new", "image": "n"}, *pod["spec"]["containers"]],
        "initContainers": [{"name": "setup", "image": "s"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }


def test_what_was_removed_after_injection_stays_away() -> None:
    _, after = injected_web()
    after["spec"]["containers"] = [{"name": "other", "image": "o"}]
    del after["spec"]["volumes"]
    assert remove(after) == {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "other", "image": "o"}]}}


@pytest.mark.parametrize("status", [None, "", "{", "[]", '{"version":"1a2b","containers":["istio-proxy"]}'])
def test_a_pod_of_nobody_or_of_another_mesh_has_nothing_to_be_removed(status: str | None) -> None:
    annotations = {} if status is None else {"sidecar.istio.io/status": status}
    with pytest.raises(NotInjected):
        remove({"metadata": {"annotations": annotations}})


@pytest.mark.parametrize(
    "entries", ['{}', '[{}]', '[{"at":[]}]', '[{"at":[3]}]', '[{"at":[{"name":3},"x"]}]', '[{"at":[{"index":0}]}]']
)  # fmt: skip
def test_a_record_that_somebody_broke_is_refused(entries: str) -> None:
    status = f'{{"version":"1","restore":{entries}}}'
    with pytest.raises(BadRecord):
        remove({"metadata": {"annotations": {"sidecar.istio.io/status": status}}})


def test_a_record_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(BadRecord, match="another version"):
        remove({"metadata": {"annotations": {"sidecar.istio.io/status": '{"version":"2","restore":[]}'}}})
