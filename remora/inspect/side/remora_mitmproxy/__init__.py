"""What of ours runs inside mitmproxy's environment, which has mitmproxy and nothing of the mesh."""
