"""`remora up --grafana`: the dashboards are there soon after the mesh, and what their data sources name answers."""

from pathlib import Path

import httpx
import pytest

from tests.dashboards.grafana.fake_grafana import TOKEN, FakeGrafana, RunningGrafana
from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh


def test_a_mesh_brings_its_dashboards_and_its_traces_to_grafana(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    grafana = RunningGrafana(FakeGrafana())
    flags = ("--no-samples", "--grafana", grafana.url, "--grafana-token", str(token))
    try:
        with RunningMesh.up(tmp_path / "state", *flags) as mesh:
            until(lambda: len(grafana.state.dashboards) == 6, "all dashboards are in Grafana", within=30)
            source = grafana.state.sources["remora-jaeger"]
            assert source["url"] == mesh.info["jaeger"]
            with httpx.Client(trust_env=False, timeout=10) as client:
                assert client.get(f"{source['url']}/api/services").status_code == 200
            assert TOKEN not in "".join(path.read_text() for path in (mesh.state / "logs").glob("*.log"))
    finally:
        grafana.close()
