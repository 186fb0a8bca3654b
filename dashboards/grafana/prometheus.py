"""A Prometheus over HTTP, as far as evaluating needs it."""

from collections.abc import Mapping
from typing import Any

import httpx

from dashboards.grafana.evaluate import BadExpression


class PrometheusUnreachable(Exception):
    """There is no Prometheus that answers, or what is there is none."""


class HttpPrometheus:
    """Close it."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._url = url.rstrip("/")
        # Loopback and cluster addresses are meant: never by way of a proxy that the environment names for the internet.
        self._client = httpx.Client(trust_env=False, timeout=timeout_s)

    def query(self, expr: str) -> list[float]:
        """See evaluate.Prometheus. Raises PrometheusUnreachable too."""
        result = self._ask("/api/v1/query", {"query": expr})["result"]
        return [float(each["value"][1]) for each in result]

    def labels(self, expr: str) -> list[dict[str, str]]:
        """The labels of an instant query's series. Raises as `query` does."""
        return [dict(each["metric"]) for each in self._ask("/api/v1/query", {"query": expr})["result"]]

    def names(self) -> set[str]:
        """Of all metrics that it has."""
        return set(self._ask("/api/v1/label/__name__/values", {}))

    def close(self) -> None:
        """Give up its connections."""
        self._client.close()

    def _ask(self, path: str, values: Mapping[str, str]) -> Any:
        try:
            response = self._client.get(self._url + path, params=values)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise PrometheusUnreachable(f"{self._url}: {error}") from error
        if not isinstance(answer, dict) or "status" not in answer:
            raise PrometheusUnreachable(f"{self._url}: HTTP {response.status_code}, and no answer of a Prometheus")
        if answer["status"] != "success":
            if answer.get("errorType") == "bad_data":
                raise BadExpression(str(answer.get("error")))
            raise PrometheusUnreachable(f"{self._url}: {answer.get('errorType')}: {answer.get('error')}")
        return answer["data"]
