"""The alarm ends what runs too long, and nothing else, however close the end of a call and the signal are."""

import subprocess
import sys

# In a process of its own: the test runner's time-outs use the same signal.
SCRIPT = """
import time
from sidecar.filters.python_alarm import Overrun, SignalAlarm, bounded

alarm = SignalAlarm()
alarm.install()
ended = done = 0

def spin(until):
    while time.perf_counter() < until:
        pass
    return True

for number in range(20_000):
    try:
        # Around the very moment of the signal.
        done += bounded(alarm, 50e-6, spin, time.perf_counter() + 50e-6 + (number % 11 - 5) * 4e-6)
    except Overrun:
        ended += 1
    assert not alarm.armed
spin(time.perf_counter() + 0.05)
print(ended, done)
"""


def test_it_never_rings_after_the_call() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    ended, done = map(int, ran.stdout.split())
    assert ended + done == 20_000
    assert ended > 100
    assert done > 100
