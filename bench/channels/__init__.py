"""Channel groups: which channels must be removed together, their removal, and budgets of channels."""
