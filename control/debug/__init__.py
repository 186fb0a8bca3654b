"""Looking into the control plane: who is in sync, and what each proxy was told."""
