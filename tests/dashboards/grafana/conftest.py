"""A Grafana to push to."""

from collections.abc import Iterator

import pytest

from tests.dashboards.grafana.fake_grafana import FakeGrafana, RunningGrafana


@pytest.fixture
def grafana() -> Iterator[RunningGrafana]:
    running = RunningGrafana(FakeGrafana())
    yield running
    running.close()
