"""Programs of Debian that tests use. A test that lacks one skips with the command that installs it."""

import shutil

import pytest

_PACKAGES = {
    "openssl": "openssl",
    "curl": "curl",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "chromium": "chromium",
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
}


def program(name: str) -> str:
    """The program's path."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {_PACKAGES[name]}")
    return path
