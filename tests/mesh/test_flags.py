"""The flags that components have in common."""

import pytest

from mesh.flags import Parser, add_log_level, add_supervision, between, host_port, port, whole


@pytest.fixture
def parser() -> Parser:
    parser = Parser("remora part", "A part.", "example:\n  remora part --port 1")
    parser.add_argument("--port", type=port)
    parser.add_argument("--listen", type=host_port)
    parser.add_argument("--wait", type=between(0.05, 600))
    parser.add_argument("--workers", type=whole(1, 64))
    add_supervision(parser, '{"address"}')
    add_log_level(parser)
    return parser


def test_what_is_given_arrives(parser: Parser) -> None:
    flags = [
        "--port",
        "0",
        "--listen",
        "[::1]:8080",
        "--wait",
        "0.05",
        "--workers",
        "64",
        "--ready-fd",
        "3",
        "--lifeline-fd",
        "4",
        "--log-level",
        "debug",
    ]
    assert vars(parser.parse_args(flags)) == {
        "port": 0,
        "listen": ("::1", 8080),
        "wait": 0.05,
        "workers": 64,
        "ready_fd": 3,
        "lifeline_fd": 4,
        "log_level": "debug",
    }


def test_a_component_without_a_parent_tells_nobody(parser: Parser) -> None:
    given = parser.parse_args([])
    assert (given.ready_fd, given.lifeline_fd, given.log_level) == (None, None, "info")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--port=65536", "argument --port: '65536' is no port; write 0 to 65535"),
        ("--port=-1", "argument --port: '-1' is no port; write 0 to 65535"),
        ("--wait=0.04", "argument --wait: '0.04' is not between 0.05 and 600"),
        ("--wait=nan", "argument --wait: 'nan' is not between 0.05 and 600"),
        ("--wait=soon", "argument --wait: 'soon' is not between 0.05 and 600"),
        ("--workers=0", "argument --workers: '0' is not a whole number from 1 to 64"),
        ("--workers=65", "argument --workers: '65' is not a whole number from 1 to 64"),
        ("--workers=²", "argument --workers: '²' is not a whole number from 1 to 64"),
        ("--listen=8080", "argument --listen: '8080' is not HOST:PORT"),
        ("--ready-fd=-1", "argument --ready-fd: '-1' is not a file descriptor's number"),
        ("--lifeline-fd=99999999999", "argument --lifeline-fd: '99999999999' is not a file descriptor's number"),
        ("--log-level=loud", "argument --log-level: invalid choice: 'loud'"),
        ("--lifeline=4", "unrecognized arguments: --lifeline=4"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_and_status_2(
    parser: Parser, flag: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parser.parse_args([flag])
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"remora part: {said}")
    assert line.endswith("(see remora part --help)\n")
    assert line.count("\n") == 1


def test_help_keeps_the_lines_of_its_example(parser: Parser) -> None:
    text = parser.format_help()
    assert 'once it serves, write {"address"} to this inherited descriptor' in " ".join(text.split())
    assert text.endswith("example:\n  remora part --port 1\n")
