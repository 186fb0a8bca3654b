"""Spans into Elasticsearch in Jaeger's index schema."""
