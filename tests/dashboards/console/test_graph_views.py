"""Graphs as a page wants them."""

from collectors.store.answers import Graph, GraphNode
from dashboards.console.graph_views import by_service, title


def test_a_service_that_requests_did_not_get_beyond_is_named_so_and_joined_to_its_versions() -> None:
    service = GraphNode("service:d/reviews", "", "d", "reviews", "unknown", 2.0, 1.0)
    version = GraphNode("d/reviews-v1", "reviews-v1", "d", "reviews", "v1", 6.0, 0.0)
    assert title(service) == "reviews (service)"
    (joined,) = by_service(Graph(0.0, 60.0, (service, version), ())).nodes
    assert (joined.id, title(joined), joined.version) == ("d/reviews", "reviews", "v1")
    assert (joined.requests_per_s, joined.error_rate) == (8.0, 0.25)
