"""Which clusters detect outliers by a DestinationRule, and what of it a rule leaves to Envoy."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict

from control.generate import generate
from control.generate.types import CDS
from tests.control.translate.bookinfo import mesh, proxy, rule

HOST = "reviews.default.svc.cluster.local"


def detected(spec: str) -> dict[str, dict[str, object]]:
    """By subset, of the clusters of reviews that detect outliers: how, and from which share of healthy ones on."""
    resources = generate(mesh(rule("DestinationRule", "reviews", spec)), proxy("details-v1")).resources[CDS]
    found: dict[str, dict[str, object]] = {}
    for name, packed in resources.items():
        cluster = Cluster()
        packed.Unpack(cluster)
        if cluster.HasField("outlier_detection"):
            assert name.endswith(f"|{HOST}"), "a rule for one host says nothing of others"
            how = MessageToDict(cluster.outlier_detection, preserving_proto_field_name=True)
            assert how.pop("enforcing_success_rate") == 0
            found[name.split("|")[2]] = how | {"panic": cluster.common_lb_config.healthy_panic_threshold.value}
    return found


def test_without_a_word_no_cluster_detects_outliers() -> None:
    assert detected("host: reviews\nsubsets: [{name: v1, labels: {version: v1}}]") == {}


def test_what_a_rule_does_not_say_is_envoys_default_and_there_is_no_panic() -> None:
    assert detected("host: reviews\ntrafficPolicy: {outlierDetection: {}}") == {"": {"panic": 0.0}}


def test_a_version_has_its_own_whole_or_else_the_rules() -> None:
    spec = """
host: reviews
trafficPolicy:
  outlierDetection: {consecutive5xxErrors: 2, minHealthPercent: 30}
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2}, trafficPolicy: {outlierDetection: {consecutiveGatewayErrors: 4}}}
"""
    general = {"consecutive_5xx": 2, "enforcing_consecutive_5xx": 100, "panic": 30.0}
    own = {"consecutive_gateway_failure": 4, "enforcing_consecutive_gateway_failure": 100, "panic": 0.0}
    assert detected(spec) == {"": general, "v1": general, "v2": own}


def test_a_port_has_its_own_or_none() -> None:
    spec = """
host: reviews
trafficPolicy:
  outlierDetection: {consecutive5xxErrors: 2}
  portLevelSettings:
  - port: {number: NUMBER}
    outlierDetection: {baseEjectionTime: 90s}
"""
    assert detected(spec.replace("NUMBER", "9080")) == {"": {"base_ejection_time": "90s", "panic": 0.0}}
    silent = spec.replace("NUMBER", "9080").replace("    outlierDetection: {baseEjectionTime: 90s}\n", "")
    assert detected(silent) == {}, "a port's settings are taken whole, as in Istio"


def test_failures_on_our_side_are_counted_where_they_are_split_off() -> None:
    split = {"split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": 0, "panic": 0.0}
    spec = "host: reviews\ntrafficPolicy: {outlierDetection: {splitExternalLocalOriginErrors: true%s}}"
    assert detected(spec % "") == {"": split}
    counted = {"consecutive_local_origin_failure": 7, "enforcing_consecutive_local_origin_failure": 100}
    assert detected(spec % ", consecutiveLocalOriginFailures: 7") == {"": split | counted}
