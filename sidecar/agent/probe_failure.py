"""Why a probe of the application has failed."""


class ProbeFailed(Exception):
    """One line for people: it goes to the kubelet, whose events show it, and to our log."""
