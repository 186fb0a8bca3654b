"""The Elasticsearch of the command line."""

from pydantic import ValidationError

from collectors.exporters.elasticsearch.client import Client
from collectors.exporters.elasticsearch.nodes import NodeSettings, connection
from collectors.exporters.jaeger.indices import Indices
from collectors.query.backend import BackendError
from collectors.query.elasticsearch_backend import ElasticsearchBackend
from collectors.query.options import Options
from mesh.clock import Clock


def open_backend(options: Options, clock: Clock) -> ElasticsearchBackend:
    """Nothing is asked yet. Raises BackendError for flags that do not fit."""
    said = {
        "urls": list(options.elasticsearch),
        "engine": "opensearch" if options.opensearch else "elasticsearch",
        "timeout": "30s",
        "ca_file": None if options.ca_file is None else str(options.ca_file),
        "api_key_file": None if options.api_key_file is None else str(options.api_key_file),
        "username": options.username,
        "password_file": None if options.password_file is None else str(options.password_file),
    }
    try:
        settings = NodeSettings.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]) if first["loc"] else "elasticsearch"
        name = "elasticsearch" if flag == "urls" else flag.replace("_", "-")
        raise BackendError(f"--{name} {first['msg']}") from error
    return ElasticsearchBackend(Client(connection(settings), clock), Indices(options.index_prefix), clock)
