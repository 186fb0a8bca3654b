"""A package for pytest: what the tests here share (its scope is "package") ends with the last of them, and not with the
suite."""
