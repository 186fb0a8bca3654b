"""Problems between rules: what each says is fine, but not together."""

from control.analyze.analyze import analyze, analyze_stored

__all__ = ["analyze", "analyze_stored"]
