"""What `pip install remora[custom-metrics]` brings is all that the command imports."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from remora.commands.components import EXTRAS

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
ROLES = ("sidecar", "control", "collectors", "console", "grafana", "samples")
LISTED = """
import sys
import remora.custom_metrics.app
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s\[<>=!~(]", each)[0].lower() for each in requirements}


def test_nothing_that_the_command_imports_is_of_another_extra() -> None:
    found = subprocess.run([sys.executable, "-P", "-c", LISTED], capture_output=True, text=True, check=True, timeout=60)
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = {name: _names(listed) for name, listed in project["optional-dependencies"].items()}
    ours = _names(project["dependencies"]) | extras[EXTRAS["custom-metrics"]]
    # Those of dev are loaded by others' packages where they are there.
    others = set().union(*(extras[name] for name in ROLES)) - ours
    known = importlib.metadata.packages_distributions()
    distributions = {
        each.lower().replace("_", "-") for module in found.stdout.split() for each in known.get(module, ())
    }
    assert distributions >= {"aiohttp", "cryptography", "httpx", "kubernetes-asyncio", "msgpack"}
    assert distributions & others == set(), "not of its extra"
