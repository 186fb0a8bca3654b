"""`remora node-agent`'s flags."""

import pytest

from remora.cli import run
from remora.node.options import parse


def test_the_nodes_name_comes_from_the_environment() -> None:
    options = parse([], {"NODE_NAME": "node-1"})
    assert (options.node, str(options.proc), options.host, options.port) == ("node-1", "/proc", "0.0.0.0", 15020)
    assert parse(["--node", "node-2"], {"NODE_NAME": "node-1"}).node == "node-2"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--node: which node is this?"),
        (["--node=a", "--proc=/nowhere"], "/nowhere is no directory"),
        (["--node=a", "--listen=15020"], "'15020' is not HOST:PORT"),
        (["--node=a", "--listen=a:99999"], "'a:99999' is not HOST:PORT"),
        (["--node=a", "--log-level=loud"], "loud"),
    ],
    ids=["no name", "no /proc", "no host", "no port", "no level"],
)
def test_wrong_use_is_status_2_with_what_is_wrong(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(flags, {})
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_without_a_cluster_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["node-agent", "--node=a", "--kubeconfig=/nowhere"]) == 1
    assert capsys.readouterr().err.startswith("remora node-agent: ")
