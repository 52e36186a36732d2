"""Benchmarks of the suite itself, beside the usual alternatives."""
