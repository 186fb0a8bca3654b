"""One dashboard a file."""

from dashboards.grafana.boards.collectors import COLLECTORS
from dashboards.grafana.boards.control_plane import CONTROL_PLANE
from dashboards.grafana.boards.mesh import MESH
from dashboards.grafana.boards.performance import PERFORMANCE
from dashboards.grafana.boards.service import SERVICE_BOARD
from dashboards.grafana.boards.workload import WORKLOAD_BOARD

BOARDS = (MESH, SERVICE_BOARD, WORKLOAD_BOARD, CONTROL_PLANE, COLLECTORS, PERFORMANCE)
"""All of them, as a person goes through them."""
