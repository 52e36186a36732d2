"""The instrument: runs, tasks, models, the training loop, measuring, tracking and tuning.

It knows no method by name and imports nothing else of this project (see the import ladder in the README).
"""

__version__ = "0.1.0"

PROTOCOL = "1"
"""Version of the rules that make two records comparable; records of different versions are never mixed."""
