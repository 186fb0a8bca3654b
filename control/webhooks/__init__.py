"""Admission: the API server asks before it stores a pod or a rule of ours."""
