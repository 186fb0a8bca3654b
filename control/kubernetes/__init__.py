"""A Kubernetes API server as the control plane uses it: calls, watches, leadership. No meaning of objects."""
