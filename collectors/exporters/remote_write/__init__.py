"""Prometheus' remote write, version 1.0."""
