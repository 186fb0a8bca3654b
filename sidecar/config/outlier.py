"""When an endpoint that fails is left out for a while. CDS `Cluster.outlier_detection`, Envoy's defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """An endpoint is ejected after so many failures one behind the other; 0 never. The `enforcing` ones are the share
    of such cases, in percent, that are ejected in fact.

    https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto
    """

    consecutive_5xx: int = 5
    """Answers of 500 and above; what fails on our side of the connection counts as one, unless `split`."""
    enforcing_consecutive_5xx: int = 100
    consecutive_gateway: int = 5
    """Answers of 502, 503 and 504; the same."""
    enforcing_consecutive_gateway: int = 0
    split: bool = False
    """Connections that fail and answers that do not come are counted by themselves."""
    consecutive_local: int = 5
    """So many of them; with `split` alone."""
    enforcing_consecutive_local: int = 100
    interval_s: float = 10.0
    """Whose time is over comes back this often."""
    base_ejection_s: float = 30.0
    """How long the first ejection lasts; the next ones that much longer each."""
    max_ejection_s: float = 300.0
    """... and no longer than this."""
    max_jitter_s: float = 0.0
    """Up to this much is added, drawn anew for each ejection."""
    max_ejection_percent: int = 10
    """Of the cluster's endpoints that may be out at once."""
    always_one: bool = False
    """... but one may, whatever share of them that is."""
