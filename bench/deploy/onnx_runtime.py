"""A model as deployed: its ONNX file in ONNX Runtime, and how fast it is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from bench.errors import BenchError
from bench.measure import turns
from bench.models.sizes import told

LARGEST = 2_000_000_000  # bytes of weights in one file: protobuf's limit

Session = Callable[[Tensor], Tensor]
"""Computes the outputs (N, classes) of images (N, C, H, W)."""


def write(program: ExportedProgram, path: Path, dynamic: bool, name: str) -> int:
    """Write a graph as ONNX, from "images" to "logits"; the version of its set of operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program,
                program.example_inputs[0] if program.example_inputs else (),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: "batch"},) if dynamic else None,
            )
            assert made is not None
            weights = sum(t.numel() * t.element_size() for t in program.state_dict.values())
            made.save(path, external_data=weights > LARGEST)
        except Exception as error:  # the exporter raises errors of several libraries
            raise BenchError(
                f"ONNX must have the operators of a model, but {name} cannot be written so ({told(error)}); "
                "try --formats pt2"
            ) from None
    return int(made.model.opset_imports[""])


def session(path: Path, threads: int) -> Session:
    """An ONNX file in ONNX Runtime, on the CPU, with all of its optimisations; ``threads`` compute one operation."""
    import onnxruntime  # here, because it is an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = (each.name for each in opened.get_inputs())
    return lambda images: torch.from_numpy(opened.run(None, {given: images.numpy()})[0])


def latencies(ours: Session, dense: Session | None, batches: Sequence[Tensor], seconds: float) -> list[dict[str, Any]]:
    """The latency of ours for each batch, and the dense model's, timed in turns with it for about ``seconds``.

    Returns:
        For each batch its size "batch", and "model" as in `turns.summary`. With a dense model also "dense", and "speedup",
        with quartiles "speedup_q1" and "speedup_q3" over "rounds".
    """
    found = list[dict[str, Any]]()
    for images in batches:
        other, own, both = turns.summary(turns.race(dense or ours, ours, images, seconds=seconds))
        row: dict[str, Any] = {"batch": len(images), "model": own}
        if dense is not None:
            speedup = {key.replace("ratio", "speedup"): value for key, value in both.items()}
            row |= {"dense": other, **speedup}
        found.append(row)
    return found
