"""Kibana: a data view, saved searches and a dashboard as code. The importable file beside it is committed;
`python -m dashboards.kibana` writes it again, `--check` says whether it is current (docs/elasticsearch.md)."""
