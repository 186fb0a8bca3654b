"""Paths of control groups, as kubelets and container runtimes make them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remora.node.cgroups import pod_uid

UID = "0f3b1c9e-6a52-4d07-9c6e-3f1a2b4c5d6e"
LOW = UID.replace("-", "_")
ID = "c" * 64


@pytest.mark.parametrize(
    "text",
    [
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{LOW}.slice/cri-containerd-{ID}.scope\n",
        f"0::/kubepods.slice/kubepods-pod{LOW}.slice/crio-{ID}.scope\n",
        f"0::/kubepods/besteffort/pod{UID}/{ID}\n",
        f"0::/kubepods/pod{UID}/{ID}\n",
        f"12:cpuset:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/kubepods/burstable/pod{UID}/{ID}\n0::/\n",
        f"4:memory:/kubepods/pod{UID}/{ID}\n0::/system.slice/containerd.service\n",
        f"0::/../../kubepods-burstable.slice/kubepods-burstable-pod{LOW}.slice/cri-containerd-{ID}.scope\n",
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
        f"kubelet-kubepods-besteffort-pod{LOW}.slice/cri-containerd-{ID}.scope\n",
        f"0::/system.slice/containerd.service/kubepods-burstable-pod{LOW}.slice:cri-containerd:{ID}\n",
        f"0::/kubepods/burstable/pod{UID}",
        f"0::/kubepods/pod{UID}/{ID}/pod11111111-1111-4111-8111-111111111111\n",
    ],
    ids=[
        "version 2 by systemd",
        "CRI-O, guaranteed, by systemd",
        "version 2 by cgroupfs",
        "guaranteed, by cgroupfs",
        "version 1 beside an empty version 2",
        "controllers of a pod, and a service in version 2",
        "seen from within a control group namespace",
        "a node that is a container itself",
        "two drivers that do not fit together",
        "the pod's own group",
        "a group that the pod has named after another",
    ],
)
def test_a_pods_uid_is_found(text: str) -> None:
    assert pod_uid(text) == UID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/\n",
        "0::/system.slice/sshd.service\n",
        f"0::/user.slice/pod{UID}x/\n",
        f"0::/kubepods/pod{UID[:-1]}/{ID}\n",
        f"0::/kubepods/pod{UID.upper()}/{ID}\n",
        f"0::/kubepods/pod{UID[:9]}{LOW[9:13]}_{UID[14:]}/{ID}\n",
        f"3:cpu:/kubepods/pod{UID}/a\n4:memory:/kubepods/pod11111111-1111-4111-8111-111111111111/a\n",
        f"0::/podman/libpod-{ID}.scope\n",
    ],
    ids=["nothing", "the root", "a service", "more behind it", "too short", "capital letters", "spellings mixed",
         "of two pods", "another program's pods"],
)  # fmt: skip
def test_what_is_of_no_pod_is_of_none(text: str) -> None:
    assert pod_uid(text) is None


@given(st.text(max_size=300))
def test_any_text_has_an_answer(text: str) -> None:
    found = pod_uid(text)
    assert found is None or found.replace("-", "_") in text.replace("-", "_")
