"""`remora control`'s flags: defaults as documented, mistakes named."""

from pathlib import Path

import pytest

from control.app import parse


def test_defaults_are_those_of_the_interface_page() -> None:
    options = parse([], {"HOME": "/home/a", "REMORA_STATE": "/s"})
    assert (options.ads_port, options.csr_port, options.rest_port) == (15012, 15011, 15014)
    assert (options.host, options.trust_domain, options.trace_sampling_percent) == ("127.0.0.1", "cluster.local", 1.0)
    assert options.access_log
    assert not options.laptop
    assert options.state == Path("/s")
    assert options.certificate_lifetime_s == 86_400


def test_the_state_directory_follows_the_xdg_convention() -> None:
    assert parse([], {"XDG_STATE_HOME": "/x"}).state == Path("/x/remora")
    assert parse([], {}).state == Path("~/.local/state/remora").expanduser()
    assert parse(["--state", "/here"], {"REMORA_STATE": "/there"}).state == Path("/here")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--ads-port", "70000"], "0 to 65535"),
        (["--rest-port", "x"], "0 to 65535"),
        (["--trace-sampling", "101"], "0 to 100"),
        (["--trace-sampling", "nan"], "0 to 100"),
        (["--trust-domain", "UPPER"], "lower case"),
        (["--certificate-lifetime", "0"], "1 to 604800"),
        (["--ready-fd", "-1"], "file descriptor"),
        (["--host", "a b"], "no address"),
        (["--unknown"], "unrecognized"),
    ],
)
def test_a_mistake_is_named_and_ends_with_status_2(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(flags, {})
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    assert "example:" in capsys.readouterr().out
