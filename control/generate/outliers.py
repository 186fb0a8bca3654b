"""Outlier detection of a cluster, as Istio asks Envoy for it."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from control.generate.pack import duration
from control.ir.policies import OutlierDetection


def detect(cluster: Cluster, outlier: OutlierDetection) -> None:
    """By failures in a row alone, and without panic unless a share of healthy instances is named.

    What the rule does not say is left to Envoy's defaults.
    https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection
    """
    made = cluster.outlier_detection
    made.enforcing_success_rate.value = 0
    if outlier.consecutive_5xx is not None:
        made.consecutive_5xx.value = outlier.consecutive_5xx
        made.enforcing_consecutive_5xx.value = 100 if outlier.consecutive_5xx else 0
    if outlier.consecutive_gateway is not None:
        made.consecutive_gateway_failure.value = outlier.consecutive_gateway
        made.enforcing_consecutive_gateway_failure.value = 100 if outlier.consecutive_gateway else 0
    if outlier.interval_s is not None:
        made.interval.CopyFrom(duration(outlier.interval_s))
    if outlier.base_ejection_s is not None:
        made.base_ejection_time.CopyFrom(duration(outlier.base_ejection_s))
    if outlier.max_ejection_percent is not None:
        made.max_ejection_percent.value = outlier.max_ejection_percent
    if outlier.split:
        made.split_external_local_origin_errors = True
        made.enforcing_local_origin_success_rate.value = 0
        if outlier.consecutive_local is not None:
            made.consecutive_local_origin_failure.value = outlier.consecutive_local
            made.enforcing_consecutive_local_origin_failure.value = 100
    cluster.common_lb_config.healthy_panic_threshold.value = outlier.min_health_percent
