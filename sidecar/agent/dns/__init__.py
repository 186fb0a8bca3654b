"""DNS for the application: names of the mesh answered here, every other question put to the pod's own servers.

Imported only where DNS is captured: dnspython is nothing that other agents should carry.
"""
