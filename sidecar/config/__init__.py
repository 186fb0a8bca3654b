"""What the sidecar was told: frozen types, checked when decoded, understood by agent and worker alike."""
