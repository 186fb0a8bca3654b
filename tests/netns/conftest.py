"""Network namespaces for tests of what a kernel does."""

from collections.abc import Iterator

import pytest

from tests.netns.namespaces import Namespace, Network, lacking, network


@pytest.fixture
def net() -> Iterator[Network]:
    """A hub; pods are made by the test."""
    if reason := lacking():
        pytest.skip(reason)
    with network() as made:
        yield made


@pytest.fixture
def pod(net: Network) -> Namespace:
    """One, without rules."""
    return net.pod("pod")
