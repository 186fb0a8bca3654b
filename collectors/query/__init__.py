"""Jaeger's HTTP API over what the collectors stored: the embedded store, or Elasticsearch in Jaeger's schema."""
