"""`remora check`: whether a cluster can have the mesh, and how the one that it has is doing.

`facts` asks the API server; the others judge what it said, without asking anyone.
"""
