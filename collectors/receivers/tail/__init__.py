"""Log files of containers and others, followed while they grow, rotate and vanish."""
