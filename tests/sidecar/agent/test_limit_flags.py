"""The process's own limits: as flags of the sidecar, and what its workers are told."""

from dataclasses import replace

import pytest

from sidecar.agent.limit_flags import limit_flags
from sidecar.bootstrap import parse
from sidecar.config.limits import MIN_MEMORY_BYTES
from tests.sidecar.test_bootstrap import REQUIRED

MIB = 1024 * 1024


def test_flags_go_down_to_the_workers() -> None:
    bootstrap = parse([*REQUIRED, "--max-connections=100", "--max-listener-connections=50", "--memory-limit=256MiB"])
    assert limit_flags(bootstrap) == (
        f"--memory-limit={256 * MIB}",
        "--max-listener-connections=50",
        "--max-connections=100",
    )


@pytest.mark.parametrize(
    ("cgroup", "concurrency", "limit"),
    [(None, 1, 0), (400 * MIB, 1, 300 * MIB), (800 * MIB, 2, 300 * MIB), (16 * MIB, 1, MIN_MEMORY_BYTES)],
    ids=["without one none", "three quarters", "divided among the workers", "never less than a worker needs"],
)
def test_the_cgroups_memory_limit_is_the_default(cgroup: int | None, concurrency: int, limit: int) -> None:
    bootstrap = replace(parse(REQUIRED), concurrency=concurrency)
    assert limit_flags(bootstrap, lambda: cgroup)[0] == f"--memory-limit={limit}"


@pytest.mark.parametrize(
    "flag", ["--memory-limit=1MiB", "--memory-limit=lots", "--memory-limit=-1", "--max-connections=-1"]
)
def test_what_can_not_be_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([*REQUIRED, flag])
    assert caught.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err
