"""What people's tools ask of the control plane: rules, status, configuration, registration. HTTPS and JSON."""
