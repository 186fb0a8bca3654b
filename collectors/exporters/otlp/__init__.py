"""OTLP out, over gRPC and over HTTP."""
