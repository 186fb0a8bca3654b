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
    assert options.outbound_traffic_policy == "ALLOW_ANY"


def test_the_state_directory_follows_the_xdg_convention() -> None:
    assert parse([], {"XDG_STATE_HOME": "/x"}).state == Path("/x/remora")
    assert parse([], {}).state == Path("~/.local/state/remora").expanduser()
    assert parse(["--state", "/here"], {"REMORA_STATE": "/there"}).state == Path("/here")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--ads-port", "70000"], "0 to 65535"),
        (["--rest-port", "x"], "0 to 65535"),
        (["--trace-sampling", "101"], "is not between 0 and 100"),
        (["--trace-sampling", "nan"], "is not between 0 and 100"),
        (["--trust-domain", "UPPER"], "lower case"),
        (["--outbound-traffic-policy", "registry_only"], "ALLOW_ANY"),
        (["--certificate-lifetime", "0"], "is not between 1 and 604800"),
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


def test_a_clusters_flags_have_defaults_and_make_a_part_of_their_own() -> None:
    assert parse([], {}).kubernetes is None
    found = parse(["--kubernetes", "--revision", "canary", "--cluster-id", "east"], {})
    assert found.cluster_id == "east"
    assert found.kubernetes is not None
    assert (found.kubernetes.namespace, found.kubernetes.webhook_port) == ("remora-system", 15017)
    assert found.kubernetes.service == "remora-control-canary"
    assert (found.kubernetes.lease.lease_s, found.kubernetes.lease.renew_deadline_s) == (15, 10.0)
    plain = parse(["--kubernetes", "--revision", "default"], {}).kubernetes
    assert plain is not None
    assert plain.service == "remora-control"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--kubeconfig", "a"], "--kubeconfig is for --kubernetes"),
        (["--webhook-port", "1"], "--webhook-port is for --kubernetes"),
        (["--injector-settings", "a"], "--injector-settings is for --kubernetes"),
        (["--kubernetes", "--laptop"], "exclude each other"),
        (["--kubernetes", "--context", "a"], "--context is a context of --kubeconfig"),
        (["--kubernetes", "--namespace", "A"], "no namespace"),
        (["--kubernetes", "--revision", "1.2"], "no revision"),
        (["--kubernetes", "--cluster-id", "a b"], "no cluster's name"),
        (["--kubernetes", "--lease-duration", "1.5"], "is not a whole number from 1 to 600"),
        (["--kubernetes", "--lease-duration", "10"], "each must be larger than the next"),
        (["--kubernetes", "--retry-period", "nan"], "is not between 0.05 and 600"),
    ],
)
def test_a_mistake_in_a_clusters_flags_is_named_too(
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
