"""Zipkin's JSON out."""
