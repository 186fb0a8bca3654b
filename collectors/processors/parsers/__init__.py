"""Text of log records as fields: JSON, logfmt, expressions, the access log."""
