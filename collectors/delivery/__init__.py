"""Between a route and a back end: batches wait on disk until the back end has them (docs/collectors.md, "Buffer")."""
