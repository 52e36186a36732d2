"""A study: its declaration, its cells, its search spaces, and how its finals are chosen."""
