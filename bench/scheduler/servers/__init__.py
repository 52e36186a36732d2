"""Servers on this machine: PostgreSQL, MLflow and Optuna's proxy."""
