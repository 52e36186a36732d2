"""The version of the rules that make two records comparable."""

PROTOCOL = "1"
"""Records of different versions are never mixed."""
