"""Programs that manifests and clusters are read with. A test that misses one skips, and says how to get it."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
KUBERNETES_VERSION = "1.33"
BIN = Path.home() / ".cache" / "remora-tests" / "bin"

OLDEST_KUBECTL = (1, 27)
_GET_KUBECTL = "apt-get install kubernetes-client (Debian 13 or later), or https://kubernetes.io/docs/tasks/tools/"
HELM = "helm.sh/helm/v3/cmd/helm@v3.18.6"
TIMEOUT_S = 60


def find(name: str, install: str) -> str:
    """The program's path, from the cache of test programs or the PATH."""
    cached = BIN / name
    found = str(cached) if cached.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {install}")
    return found


def helm() -> str:
    """Helm 3, built from its module where no package has it."""
    return find("helm", f"GOBIN={BIN} go install {HELM}")


def kubectl() -> str:
    """Of 1.27 or later: older ones know no directory among kustomize's resources, and have a server's unknown fields
    judged by themselves."""
    path = find("kubectl", _GET_KUBECTL)
    version = _version(path)
    if version < OLDEST_KUBECTL:
        pytest.skip(f"kubectl {'.'.join(map(str, version))} is too old: {_GET_KUBECTL}")
    return path


@cache
def _version(kubectl: str) -> tuple[int, int]:
    told = json.loads(output(kubectl, "version", "--client", "--output", "json"))["clientVersion"]
    return int(told["major"]), int(told["minor"].rstrip("+"))


def output(*command: str, stdin: str | None = None) -> str:
    """What the program prints; fails the test with what it says where it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
