"""One run from its specification to its record: the loop, its state, checkpoints, recovery, starting weights."""
