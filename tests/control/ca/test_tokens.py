"""Tokens: hashed at rest, bound to the first key, gone with their workload."""

import os
from pathlib import Path

import pytest

from control.ca.errors import BrokenAuthority, Unauthenticated
from control.ca.tokens import LIFETIME_S, Tokens
from mesh.spiffe import SpiffeId
from tests.control.ca.requests import REVIEWS

IDENTITY = SpiffeId.parse(REVIEWS)
COLLECTOR = SpiffeId("cluster.local", "remora-system", "remora-collector")
NOW = 1_800_000_000.0


def opened(tmp_path: Path, now: float = NOW) -> Tokens:
    tokens = Tokens(tmp_path / "tokens")
    tokens.load(now)
    return tokens


def test_a_token_has_32_bytes_and_is_not_on_disk(tmp_path: Path) -> None:
    token = opened(tmp_path).issue(IDENTITY, "default/reviews-v1", NOW)
    assert len(token) == 43
    [path] = (tmp_path / "tokens").iterdir()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert token not in path.name + path.read_text()


async def test_a_token_survives_a_restart_with_its_binding(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    token = tokens.issue(IDENTITY, "default/reviews-v1", NOW)
    await tokens.bind(tokens.find(token, NOW).digest, "aa")
    again = opened(tmp_path)
    grant = again.find(token, NOW)
    assert (grant.identity, grant.workload, grant.key) == (IDENTITY, "default/reviews-v1", "aa")
    await again.bind(grant.digest, "aa")
    with pytest.raises(Unauthenticated, match="another key"):
        await again.bind(grant.digest, "bb")


@pytest.mark.parametrize("token", ["", "x" * 43, "x" * 10_000, "\ud800", "ü"])
def test_what_is_no_token_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(Unauthenticated):
        opened(tmp_path).find(token, NOW)


def test_an_expired_token_is_refused_and_removed(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    token = tokens.issue(IDENTITY, "default/reviews-v1", NOW)
    assert tokens.find(token, NOW + LIFETIME_S - 1)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.find(token, NOW + LIFETIME_S)
    assert len(opened(tmp_path, NOW + LIFETIME_S)) == 0
    assert not list((tmp_path / "tokens").iterdir())


def test_registering_again_replaces_the_token(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    first = tokens.issue(IDENTITY, "default/reviews-v1", NOW)
    second = tokens.issue(IDENTITY, "default/reviews-v1", NOW)
    with pytest.raises(Unauthenticated):
        tokens.find(first, NOW)
    assert tokens.find(second, NOW)


def test_a_removed_workloads_token_is_worth_nothing(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    mine = tokens.issue(IDENTITY, "default/reviews-v1", NOW)
    other = tokens.issue(IDENTITY, "default/reviews-v2", NOW)
    tokens.revoke("default/reviews-v1")
    with pytest.raises(Unauthenticated):
        tokens.find(mine, NOW)
    assert opened(tmp_path).find(other, NOW)


def test_a_component_may_renew_long_after_its_token_expired(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    token = tokens.issue(COLLECTOR, None, NOW)
    later = opened(tmp_path, NOW + 30 * LIFETIME_S)
    assert later.is_component(COLLECTOR)
    assert not later.is_component(IDENTITY)
    with pytest.raises(Unauthenticated):
        later.find(token, NOW + 30 * LIFETIME_S)


async def test_a_token_is_not_bound_when_the_disk_is_full_and_nothing_is_given_out(tmp_path: Path) -> None:
    tokens = opened(tmp_path)
    token = tokens.issue(IDENTITY, "default/reviews-v1", NOW)
    digest = tokens.find(token, NOW).digest
    (tmp_path / "tokens").rename(tmp_path / "gone")
    with pytest.raises(OSError, match="No such file"):
        await tokens.bind(digest, "aa")
    (tmp_path / "gone").rename(tmp_path / "tokens")
    await tokens.bind(digest, "aa")
    assert opened(tmp_path).find(token, NOW).key == "aa"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"digest": 1}'])
def test_a_broken_record_stops_the_start(tmp_path: Path, content: str) -> None:
    opened(tmp_path)
    path = tmp_path / "tokens" / f"{'0' * 64}.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BrokenAuthority, match="is no token record"):
        opened(tmp_path)
