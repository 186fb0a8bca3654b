"""The downward API's files."""

from pathlib import Path

import pytest

from sidecar.agent.pod_files import WrongPodFile, parse_pairs, read_pairs


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        pytest.param('app="web"', {"app": "web"}, id="a label"),
        pytest.param('a="1"\nb="2"\n', {"a": "1", "b": "2"}, id="two, with a newline at the end"),
        pytest.param("", {}, id="none"),
        pytest.param('empty=""', {"empty": ""}, id="an empty value"),
        pytest.param('example.com/a="x=y"', {"example.com/a": "x=y"}, id="an equals sign in the value"),
        pytest.param(r'a="say \"hi\"\n\tthen \\ go"', {"a": 'say "hi"\n\tthen \\ go'}, id="quotes and line ends"),
        pytest.param(r'a="\x00\u00a0\U0001f600\a\b\f\r\v"', {"a": "\0\u00a0\U0001f600\a\b\f\r\v"}, id="every escape"),
        pytest.param(r'a="\xff"', {"a": "\ufffd"}, id="a byte that was no UTF-8"),
        pytest.param('a="Grüße"', {"a": "Grüße"}, id="printable characters stay"),
    ],
)
def test_values_are_unquoted_as_go_quotes_them(line: str, pairs: dict[str, str]) -> None:
    assert parse_pairs(line) == pairs


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("app", id="no value"),
        pytest.param("app=web", id="no quotes"),
        pytest.param('app="web', id="no end"),
        pytest.param('="web"', id="no key"),
        pytest.param('app="a"b"', id="something behind the value"),
        pytest.param(r'app="\q"', id="an escape that is none"),
        pytest.param(r'app="\U00110000"', id="a character that is none"),
        pytest.param('app="web\\"', id="a backslash before the last quote"),
    ],
)
def test_what_the_kubelet_does_not_write_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(WrongPodFile, match="line 2"):
        parse_pairs(f'ok="1"\n{text}')


def test_a_file_that_no_pod_can_have_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "annotations"
    path.write_bytes(b"x" * 2_100_000)
    with pytest.raises(WrongPodFile, match="longer than"):
        read_pairs(path)
