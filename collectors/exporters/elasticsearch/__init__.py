"""The exporter into Elasticsearch: data streams with ECS names, every record stored once (docs/elasticsearch.md)."""
