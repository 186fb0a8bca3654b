"""The custom.metrics.k8s.io API: what HorizontalPodAutoscalers ask of the mesh's metrics.

https://github.com/kubernetes/design-proposals-archive/blob/main/instrumentation/custom-metrics-api.md
"""
