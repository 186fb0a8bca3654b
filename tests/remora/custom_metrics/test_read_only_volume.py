"""Beside the collector, custom metrics have its volume read-only: that is enough for as long as there are figures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a mount namespace of its own: nothing of it is left behind.
READING = """
import subprocess, sys, time
from pathlib import Path
from collectors.store import Reader, Store, StoreError
theirs, ours = Path(sys.argv[1], "theirs"), Path(sys.argv[1], "ours")
writer = Store.open(theirs / "telemetry.db")
subprocess.run(["mount", "--bind", theirs, ours], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", ours], check=True)
reader = Reader.open(ours / "telemetry.db")
print("collecting", reader.services(time.time(), 60.0))
writer.close()
print("ended", reader.services(time.time(), 60.0))
writer = Store.open(theirs / "telemetry.db")
print("restarted", reader.services(time.time(), 60.0))
reader.close()
writer.close()
try:
    Reader.open(ours / "telemetry.db")
except StoreError:
    print("nobody collects")
writer = Store.open(theirs / "telemetry.db")
print("again", Reader.open(ours / "telemetry.db").services(time.time(), 60.0))
writer.close()
"""


def test_the_collectors_store_is_read_from_a_volume_that_is_mounted_read_only(tmp_path: Path) -> None:
    private = ["unshare", "--mount"]
    if os.geteuid() != 0 or subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root and util-linux: apt-get install util-linux, and run the tests as root")
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    found = subprocess.run(
        [*private, sys.executable, "-P", "-c", READING, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.stdout.splitlines() == ["collecting []", "ended []", "restarted []", "nobody collects", "again []"], (
        found.stderr
    )
