"""Grafana: dashboards and data sources as code. The generated JSON beside it is committed;
`python -m dashboards.grafana` writes it again, `--check` says whether it is current and whole."""
