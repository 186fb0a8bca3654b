"""Elasticsearch in Jaeger's index schema behind the API, whoever wrote it: our exporter, or Jaeger."""

from collections.abc import Sequence
from typing import Any

import orjson

from collectors.exporters.elasticsearch.client import NDJSON, Client, Denied
from collectors.exporters.jaeger.documents import trace_id_text
from collectors.exporters.jaeger.indices import Indices
from collectors.exporters.sink import TooLarge, Unavailable
from collectors.query.backend import (
    MAX_ANSWER_SPANS,
    MAX_TRACE_SPANS,
    BackendError,
    Document,
    Found,
    Link,
    Operation,
    TraceQuery,
)
from mesh.clock import Clock

MAX_NAMES = 10_000
"""Of services, and of one service's operations: Elasticsearch's own bound."""
_TRACES_AT_ONCE = 20
_HOUR_US = 3600 * 1_000_000
_KIND_LOOKBACK_US = 48 * _HOUR_US
_LENIENT = {"ignore_unavailable": "true", "allow_no_indices": "true"}
"""Days without spans have no index."""


class ElasticsearchBackend:
    """See backend.Backend."""

    def __init__(self, client: Client, indices: Indices, clock: Clock) -> None:
        self._client = client
        self._indices = indices
        self._clock = clock

    async def services(self) -> list[str]:
        """See backend.Backend."""
        return await self._names(self._indices.all_services, None, "serviceName")

    async def operations(self, service: str, kind: str) -> list[Operation]:
        """See backend.Backend. Jaeger keeps no kinds beside the names: those of a kind are looked for among spans."""
        if not kind:
            query = {"term": {"serviceName": service}}
            names = await self._names(self._indices.all_services, query, "operationName")
            return [Operation(name, "") for name in names]
        now_us = int(self._clock.now() * 1e6)
        since_us = now_us - _KIND_LOOKBACK_US
        query = _spans_query(TraceQuery(service, tags={"span.kind": kind}, start_us=since_us, end_us=now_us))
        names = await self._names(self._indices.spans(since_us, now_us), query, "operationName")
        return [Operation(name, kind) for name in names]

    async def find(self, query: TraceQuery) -> Found:
        """See backend.Backend."""
        body = {
            "size": 0,
            "query": _spans_query(query),
            "aggs": {
                "traces": {
                    "terms": {"field": "traceID", "size": query.limit, "order": {"newest": "desc"}},
                    "aggs": {"newest": {"max": {"field": "startTime"}}},
                }
            },
        }
        answer = await self._search(self._indices.spans(query.start_us, query.end_us), body)
        ids = [bucket["key"] for bucket in _buckets(answer, "traces")]
        found = Found()
        held = 0
        # A trace may begin before midnight and before the window, or go on after it.
        names = self._indices.spans(max(0, query.start_us - _HOUR_US), query.end_us + _HOUR_US)
        for at in range(0, len(ids), _TRACES_AT_ONCE):
            asked = ids[at : at + _TRACES_AT_ONCE]
            if held >= MAX_ANSWER_SPANS:
                found.left_out += asked
                continue
            for id_, documents in zip(asked, await self._traces(names, [[id_] for id_ in asked]), strict=True):
                held += len(documents)
                if documents and held <= MAX_ANSWER_SPANS:
                    found.traces.append(documents)
                else:
                    found.left_out.append(id_)
        return found

    async def trace(self, trace_id: str) -> list[Document]:
        """See backend.Backend. Ids of 64 bits are written with and without their zeros by different writers."""
        (documents,) = await self._traces(self._indices.all_spans, [[trace_id, trace_id_text(trace_id)]])
        return documents

    async def dependencies(self, end_us: int, lookback_us: int) -> list[Link]:
        """See backend.Backend: what was counted into Jaeger's index of them."""
        start_us = max(0, end_us - lookback_us)
        body = {
            "size": MAX_NAMES,
            "query": {
                "range": {"timestamp": {"gte": start_us // 1000, "lte": end_us // 1000, "format": "epoch_millis"}}
            },
        }
        answer = await self._search(self._indices.all_dependencies(start_us, end_us), body)
        return [
            Link(link["parent"], link["child"], int(link["callCount"]))
            for hit in _hits(answer)
            for link in hit.get("dependencies") or ()
        ]

    async def close(self) -> None:
        """See backend.Backend."""
        await self._client.close()

    async def _names(self, indices: str, query: dict[str, Any] | None, name: str) -> list[str]:
        body: dict[str, Any] = {"size": 0, "aggs": {"names": {"terms": {"field": name, "size": MAX_NAMES}}}}
        if query is not None:
            body["query"] = query
        return sorted(bucket["key"] for bucket in _buckets(await self._search(indices, body), "names"))

    async def _traces(self, indices: str, ids: Sequence[Sequence[str]]) -> list[list[Document]]:
        """The spans of each; each may be known by several ids."""
        if not ids:
            return []
        lines: list[Any] = []
        for known in ids:
            lines.append({"index": indices.split(","), "ignore_unavailable": True, "allow_no_indices": True})
            lines.append(
                {
                    "query": {"terms": {"traceID": list(known)}},
                    "size": MAX_TRACE_SPANS,
                    "sort": [{"startTime": "asc"}, {"duration": "desc"}],
                    "track_total_hits": False,
                }
            )
        body = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        answer = await self._request("POST", "/_msearch", body, kind=NDJSON)
        responses = answer.get("responses") if isinstance(answer, dict) else None
        if not isinstance(responses, list) or len(responses) != len(ids):
            raise BackendError("the answer is none of Elasticsearch's _msearch")
        for response in responses:
            if "error" in response:
                raise BackendError(f"Elasticsearch: {_reason(response['error'])}")
        return [_hits(response) for response in responses]

    async def _search(self, indices: str, body: dict[str, Any]) -> Any:
        return await self._request("POST", f"/{indices}/_search", body, params=_LENIENT)

    async def _request(self, method: str, path: str, body: Any, **arguments: Any) -> Any:
        try:
            return await self._client.request(method, path, body=body, **arguments)
        except (Unavailable, Denied, TooLarge) as error:
            raise BackendError(f"Elasticsearch: {error}") from error


def _spans_query(query: TraceQuery) -> dict[str, Any]:
    """One span that all of it holds of."""
    filters: list[dict[str, Any]] = [
        {"range": {"startTime": {"gte": query.start_us, "lte": query.end_us}}},
        {"term": {"process.serviceName": query.service}},
    ]
    if query.operation:
        filters.append({"term": {"operationName": query.operation}})
    duration = {}
    if query.min_duration_us:
        duration["gte"] = query.min_duration_us
    if query.max_duration_us:
        duration["lte"] = query.max_duration_us
    if duration:
        filters.append({"range": {"duration": duration}})
    filters += [_tag_query(key, value) for key, value in query.tags.items()]
    return {"bool": {"filter": filters}}


def _tag_query(key: str, value: str) -> dict[str, Any]:
    """A tag of the span, of its process, or a field of one of its logs; as an object among many, or as a field."""
    ways: list[dict[str, Any]] = [
        {
            "nested": {
                "path": path,
                "query": {"bool": {"filter": [{"term": {f"{path}.key": key}}, {"term": {f"{path}.value": value}}]}},
            }
        }
        for path in ("tags", "process.tags", "logs.fields")
    ]
    field = key.replace(".", "@")
    ways += [{"term": {f"{path}.{field}": value}} for path in ("tag", "process.tag")]
    return {"bool": {"should": ways, "minimum_should_match": 1}}


def _buckets(answer: Any, name: str) -> list[dict[str, Any]]:
    try:
        # Without any index there is nothing to add up.
        return list(answer["aggregations"][name]["buckets"]) if "aggregations" in answer else []
    except (KeyError, TypeError) as error:
        raise BackendError("the answer is none of Elasticsearch's _search") from error


def _hits(answer: Any) -> list[Document]:
    try:
        return [hit["_source"] for hit in answer["hits"]["hits"]]
    except (KeyError, TypeError) as error:
        raise BackendError("the answer is none of Elasticsearch's _search") from error


def _reason(error: Any) -> str:
    return str(error.get("reason", error))[:300] if isinstance(error, dict) else str(error)[:300]
