"""What `remora collect --config FILE` reads: receivers, processors, routes, exporters (docs/collectors.md)."""
