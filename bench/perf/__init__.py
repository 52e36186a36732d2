"""How fast the suite itself is, side by side with what it is compared to."""
