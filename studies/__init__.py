"""Studies: one question per file."""
