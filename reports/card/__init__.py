"""The evaluation card: the rules of fair comparison, each checked from the records."""
