"""ONNX files: writing them, running them in ONNX Runtime, and their latency there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Latency:
    """The latency of a model in ONNX Runtime for one batch size. With a dense model also its latency, and the speed-up."""

    batch: int
    model: turns.Timing
    dense: turns.Timing | None = None
    speedup: turns.Ratio | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the row of `export.json`."""
        row: dict[str, Any] = {"batch": self.batch, "model": vars(self.model)}
        if self.dense is not None and self.speedup is not None:
            speedup = {key.replace("ratio", "speedup"): value for key, value in vars(self.speedup).items()}
            row |= {"dense": vars(self.dense), **speedup}
        return row


def write(program: ExportedProgram, path: Path, dynamic: bool, name: str) -> int:
    """Writes a graph as ONNX, with the input "images" and the output "logits"; returns the version of its operators.

    Raises:
        BenchError: ONNX lacks an operator of the model.
    """
    inputs: tuple[Any, ...] = ()
    if program.example_inputs:
        inputs = program.example_inputs[0]
    shapes = None
    if dynamic:
        shapes = ({0: "batch"},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program,
                inputs,
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=shapes,
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
    """Opens an ONNX file in ONNX Runtime, on the CPU, with all optimisations; ``threads`` threads compute one operation."""
    import onnxruntime  # here, because it is an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = (each.name for each in opened.get_inputs())
    return lambda images: torch.from_numpy(opened.run(None, {given: images.numpy()})[0])


def latencies(ours: Session, dense: Session | None, batches: Sequence[Tensor], seconds: float) -> list[Latency]:
    """Times a model on each batch, in turns with the dense model if there is one, for about ``seconds`` each."""
    found = list[Latency]()
    for images in batches:
        other, own, ratio = turns.summary(turns.race(dense or ours, ours, images, seconds=seconds))
        if dense is None:
            found.append(Latency(len(images), own))
        else:
            found.append(Latency(len(images), own, other, ratio))
    return found
