"""Tasks: image classification data sets with three fixed splits."""
