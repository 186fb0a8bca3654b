"""Joining other clusters to the mesh."""
