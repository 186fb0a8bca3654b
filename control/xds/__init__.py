"""The aggregated discovery service: who is told what, in which order, and what they said to it."""
