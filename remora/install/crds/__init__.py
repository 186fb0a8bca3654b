"""Definitions of our kinds for the API server, made of the models that the control plane itself reads rules with."""
