"""prometheus.WriteRequest as protobuf's own library knows it, from a description of our own."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_DOUBLE, _INT64, _STRING, _MESSAGE = 1, 3, 9, 11
_ONE, _MANY = 1, 3

_MESSAGES: dict[str, list[tuple[str, int, int, int, str]]] = {
    "Label": [("name", 1, _STRING, _ONE, ""), ("value", 2, _STRING, _ONE, "")],
    "Sample": [("value", 1, _DOUBLE, _ONE, ""), ("timestamp", 2, _INT64, _ONE, "")],
    "Exemplar": [
        ("labels", 1, _MESSAGE, _MANY, "Label"), ("value", 2, _DOUBLE, _ONE, ""), ("timestamp", 3, _INT64, _ONE, ""),
    ],
    "TimeSeries": [
        ("labels", 1, _MESSAGE, _MANY, "Label"), ("samples", 2, _MESSAGE, _MANY, "Sample"),
        ("exemplars", 3, _MESSAGE, _MANY, "Exemplar"),
    ],
    "WriteRequest": [("timeseries", 1, _MESSAGE, _MANY, "TimeSeries")],
}  # fmt: skip


def _make() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="remora_test_remote.proto", package="remoratest", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            message.field.add(
                name=field, number=number, type=kind, label=label, type_name=f".remoratest.{of}" if of else None
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("remoratest.WriteRequest"))


WriteRequest = _make()


def series_of(body: bytes) -> dict[str, list[tuple[int, float]]]:
    """`name{a="b"}` to its samples: milliseconds and value."""
    found: dict[str, list[tuple[int, float]]] = {}
    for series in WriteRequest.FromString(body).timeseries:
        labels = [(label.name, label.value) for label in series.labels]
        assert labels == sorted(labels), "labels are sorted by name"
        assert len({name for name, _ in labels}) == len(labels), "and none is there twice"
        name = dict(labels)["__name__"]
        text = ",".join(f'{key}="{value}"' for key, value in labels if key != "__name__")
        samples = [(sample.timestamp, sample.value) for sample in series.samples]
        assert [at for at, _ in samples] == sorted({at for at, _ in samples}), "samples are in order"
        key = f"{name}{{{text}}}"
        assert key not in found, "a series is there once"
        found[key] = samples
    return found
