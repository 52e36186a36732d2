"""Who computes what, and when: stages, the job queue, workers, trial processes and the storages that they share."""
