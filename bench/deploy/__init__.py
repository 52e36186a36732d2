"""From a finished run to a model in use: loading, export, ONNX Runtime, measured speed, and what can be pruned."""
