"""What of ours runs beside a mitmproxy addon script: mitmproxy's environment has nothing of the mesh."""
