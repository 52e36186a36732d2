"""The evaluation card: the rules of fair comparison, each judged from the records."""
