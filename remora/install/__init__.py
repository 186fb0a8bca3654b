"""What a cluster is given: one description of Remora's objects, from which `remora install`, the kustomizations and the
Helm chart are written. Nothing here talks to a cluster; remora/install/checks does."""
