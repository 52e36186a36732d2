"""Channel groups: which channels must leave together, how they are removed, and what a budget of them is."""
