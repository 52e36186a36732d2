"""The record of one run: what was run, how it ended, what was measured of its model, and where the numbers come from.

It is ``runs/<id>/record.json``. Measurements are of the finished model, after a recovery if the run has one, unless a field
says otherwise. A measurement that was not made is NaN here and has no key in JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.errors import Corrupt
from bench.records.part import Part, part

SCHEMA = 1
FINISHED, FAILED, RUNNING = "finished", "failed", "running"


@dataclass(frozen=True)
class RunSpec:
    """All fields of a `bench.run.Run` as `Run.to_dict` gives them; those that readers of records need have names here."""

    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> Mapping[str, Any]:
        """The method's hyper-parameters, with its "name"."""
        found: Mapping[str, Any] = self.values.get("method", {})
        return found

    @property
    def method_name(self) -> str:
        """The method's name in the registry; "" where it is not known."""
        return str(self.method.get("name", ""))

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The fields of the recipe."""
        found: Mapping[str, Any] = self.values.get("recipe", {})
        return found

    @property
    def task(self) -> str:
        """The task."""
        return str(self.values.get("task", ""))

    @property
    def model(self) -> str:
        """The model that the run names."""
        return str(self.values.get("model", ""))

    @property
    def epochs(self) -> float:
        """Passes over the training images; 0 where they are not known."""
        return float(self.values.get("epochs", 0.0))

    @property
    def seed(self) -> int | None:
        """The seed; None where it is not known."""
        found: int | None = self.values.get("seed")
        return found

    @property
    def start(self) -> str:
        """The starting weights: "", "timm", "run:ID" or a file."""
        return str(self.values.get("start", ""))

    @property
    def shape(self) -> str:
        """The run whose channels and zeros it has: "", "run:ID" or "shuffled:ID"."""
        return str(self.values.get("shape", ""))

    @property
    def recovery(self) -> str:
        """The kind of the recovery, or "none"."""
        return str(self.values.get("recovery") or "none")

    def to_json(self) -> dict[str, Any]:
        """The fields as they were given."""
        return dict(self.values)

    @classmethod
    def from_json(cls, value: Any) -> RunSpec:
        """The run of `to_json`."""
        if not isinstance(value, Mapping):
            raise Corrupt(f"a run must be an object in JSON, but got {value!r:.80}; have it written again")
        return cls(value)


@dataclass(frozen=True)
class Metrics(Part):
    """The measurements of a finished model (`bench.measure`). Top-1 and top-5 are in per cent, shares from 0 to 1.

    ``val_...`` are on the validation split, ``test_...`` on the test split, of finals only.
    """

    val_top1: float = part("val/top1")  # after the last epoch
    val_top5: float = part("val/top5")
    val_loss: float = part("val/loss")
    val_ece: float = part("val/ece")  # expected calibration error
    val_worst_class: float = part("val/worst_class")  # top-1 of the worst class
    val_worst_class_index: float = part("val/worst_class_index")
    val_n: float = part("val/n")  # images
    val_agreement: float = part("val/agreement")  # with the dense model's predictions, if the run started from one
    val_class_drop: float = part("val/class_drop")  # of the class that lost the most against that dense model
    test_top1: float = part("test/top1")
    test_top5: float = part("test/top5")
    test_loss: float = part("test/loss")
    test_ece: float = part("test/ece")
    test_worst_class: float = part("test/worst_class")
    test_worst_class_index: float = part("test/worst_class_index")
    test_n: float = part("test/n")
    test_agreement: float = part("test/agreement")
    test_class_drop: float = part("test/class_drop")
    sparsity_prunable: float = part("sparsity/prunable")  # share of zeros in what the method may prune
    sparsity_weights: float = part("sparsity/weights")  # of all convolution and linear weights
    sparsity_all: float = part("sparsity/all")  # of all parameters
    sparsity_effective: float = part("sparsity/effective")  # with weights that no path connects counted as zeros
    weights_prunable: float = part("weights/prunable")  # numbers of weights
    weights_all: float = part("weights/all")
    weights_nonzero: float = part("weights/nonzero")
    weights_reference: float = part("weights/reference")  # of the dense model that the run names
    weights_unreached: float = part("weights/unreached")  # that no mask reaches, see `RunRecord.unreached`
    weights_disconnected: float = part("weights/disconnected")  # not zero, but on no path
    weights_left: float = part()  # non-zeros over the reference's weights
    pq: float = part()  # PQ index of the weights, see `bench.measure.sparseness`
    params_all: float = part("params/all")  # all weights + norms + biases + other
    params_nonzero: float = part("params/nonzero")
    params_norms: float = part("params/norms")
    params_biases: float = part("params/biases")
    params_other: float = part("params/other")  # embeddings, tables, tokens, scales, recurrent weights
    params_reference: float = part("params/reference")
    bytes_dense: float = part("bytes/dense")
    bytes_sparse: float = part("bytes/sparse")
    bytes_compressed: float = part("bytes/compressed")
    bytes_reference: float = part("bytes/reference")
    macs_dense: float = part("macs/dense")  # of the dense model that the run names
    macs_left: float = part("macs/left")
    macs_fraction: float = part("macs/fraction")  # left over dense
    speedup_theoretical: float = part("speedup/theoretical")  # dense over left
    latency_batch1_median_ms: float = part("latency/batch1_median_ms")
    latency_batch1_p95_ms: float = part("latency/batch1_p95_ms")
    latency_full_median_ms: float = part("latency/full_median_ms")  # of a batch of the recipe
    latency_full_p95_ms: float = part("latency/full_p95_ms")
    latency_full_batch: float = part("latency/full_batch")
    val_top1_pruned: float = part("val/top1_pruned")  # as the method finished the model, before a recovery
    val_top1_bn: float = part("val/top1_bn")  # then, with batch-norm statistics estimated again
    val_best_top1: float = part("val_best/top1")  # the best epoch with a model as small as the finished one
    wanted_weights_left: float = part("wanted/weights_left")  # aimed at by a method that trains a smaller model
    layers_collapsed: float = part("layers/collapsed")  # number of entries in `RunRecord.collapsed`
    more: Mapping[str, float] = field(default_factory=dict)  # any others, by key

    def numbers(self) -> dict[str, float]:
        """All that was measured, by key, such as "val/top1"."""
        return self.to_json()

    def measured(self, *names: str) -> bool:
        """Whether all of some fields were measured."""
        return not any(math.isnan(getattr(self, name)) for name in names)

    @classmethod
    def from_numbers(cls, values: Mapping[str, float]) -> Metrics:
        """The metrics of numbers by key; each must be finite, as JSON has no others.

        Raises:
            Corrupt: a number is not finite.
        """
        for key, value in values.items():
            if not math.isfinite(value):
                raise Corrupt(f"metrics must be finite numbers, but {key} is {value}; run it with other settings")
        return cls.from_json(values)


@dataclass(frozen=True)
class LayerRow(Part):
    """One convolution or linear weight of the finished model."""

    name: str  # of the parameter
    shape: tuple[int, ...]
    weights: int
    nonzero: int
    sparsity: float
    macs: float  # of one image
    macs_left: float
    pq: float = part()
    prunable: bool = part(default=False, omit=False)
    kind: str | None = part(
        default=None
    )  # convolution, pointwise, depthwise, linear, classifier; missing in old records


@dataclass(frozen=True)
class Collapsed(Part):
    """A layer that lets little or nothing through: the name of its weight, and why it is listed."""

    name: str
    reason: str


@dataclass(frozen=True)
class UnreachedRow(Part):
    """A weight that no mask reaches (`bench.layers`): its parameter, the kind of its module, and how many weights it has."""

    name: str
    kind: str
    weights: int


@dataclass(frozen=True)
class PhaseRow(Part):
    """The model at the end of a phase, before the method acts; a recovery's phase is named "recover"."""

    index: int
    name: str
    steps: int
    step: int  # the last one, counted from the start of the run
    val_top1: float = part("val/top1")
    val_loss: float = part("val/loss")
    sparsity: float = part()
    weights_left: float = part()
    pq: float = part()
    after_val_top1: float = part("after/val/top1")  # where the method then changed weights: after that


@dataclass(frozen=True)
class Cost(Part):
    """What a run took. ``start_steps`` and ``shape_steps`` are those of the runs that it started from."""

    steps: int = 0
    start_steps: int = 0
    shape_steps: int = 0
    start_known: bool = part(default=True)  # whether these are all: the training of external weights is not known
    samples: int = 0
    seconds: float = part()
    train_seconds: float = part()
    images_per_second: float | None = None
    peak_memory_bytes: int | None = None
    runs_beside: int = 1  # runs on the machine at the same time, this one included
    energy_joules: float | None = None  # of training (`bench.measure.energy`); null where it cannot be measured

    def to_json(self) -> dict[str, Any]:
        """The cost by key; nothing for a run that failed, whose cost is not known."""
        return super().to_json() if self.steps else {}


@dataclass(frozen=True)
class Provenance(Part):
    """Where numbers come from. A run that failed knows only part of it."""

    version: str | None = part(default=None)
    commit: str | None = part(default=None)
    dirty: bool | None = part(default=None)  # whether files differ from the commit
    versions: Mapping[str, str] = part(default=dict)  # of Python and packages
    hardware: Mapping[str, Any] = part(default=dict)  # `bench.environment.hardware`
    device: str | None = part(default=None)
    threads: int | None = part(default=None)
    command: str | None = part(default=None)
    started: float | None = part(default=None)  # seconds since 1970
    finished: float | None = part(default=None)
    data: Mapping[str, Any] = part(
        default=dict
    )  # task, digest of its content, images by split, names of the classes in order
    start: tuple[str, ...] = part(default=tuple)  # what was done to the starting weights to make them fit
    imported_from: str | None = part(default=None)  # the file, of another lab's record

    @property
    def known(self) -> bool:
        """Whether the code's version was looked up, as it is of a run that finished; `commit` may be unknown all the same."""
        return self.version is not None


@dataclass(frozen=True)
class TestOpening(Part):
    """One opening of the test split: when (seconds since 1970), and the id of the process."""

    time: float
    process: int


@dataclass(frozen=True)
class Images(Part):
    """Images of a data set that weights were trained on."""

    task: str
    digest: str
    split: str


@dataclass(frozen=True)
class StartingWeights(Part):
    """What is known of the weights that a run starts from (`bench.records.starting_weights`)."""

    root: str  # "timm" or "sha256:...": where the chain of starts began outside of this home; "" where it did not
    images: tuple[Images, ...]
    complete: bool  # whether these are all images that they were trained on
    steps: int | None  # of their training; null where it is not known, which is not 0


UNSAFE = "unsafe start"
"""The label of numbers that follow from weights whose training may have seen validation or test images."""


@dataclass(frozen=True)
class Attempt(Part):
    """An earlier attempt that failed."""

    kind: str
    reason: str
    time: float = part()


@dataclass(frozen=True)
class RunRecord(Part):
    """All that is known of a run that has ended."""

    schema: int
    protocol: str
    id: str
    status: str  # "finished" or "failed"
    reason: str | None  # of a failure
    run: RunSpec
    identity: Mapping[str, Any]  # what the id is the digest of
    architecture: str  # what was built: the run's model, unless its method trains a smaller one in its place
    label: str = ""  # what must stand beside its numbers, such as "masked channels"
    metrics: Metrics = field(default_factory=Metrics)  # none of a failed run
    layers: tuple[LayerRow, ...] = ()
    collapsed: tuple[Collapsed, ...] = ()
    unreached: tuple[UnreachedRow, ...] = part(default=())  # all of the model's, whatever the method
    phases: tuple[PhaseRow, ...] = ()
    cost: Cost = field(default_factory=Cost)
    provenance: Provenance = field(default_factory=Provenance)
    test_openings: int = 0  # how often the test split was opened: 0, or 1 of a final
    test_opened: tuple[TestOpening, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    starting_weights: StartingWeights | None = field(default=None, metadata={"omit": True})  # None: an initialisation
    warnings: tuple[str, ...] = part(default=())  # what makes its numbers doubtful, in words
    weights_sha256: str | None = part(default=None)  # of model.safetensors, where weights are kept

    @property
    def finished(self) -> bool:
        """Whether the run came to a result."""
        return self.status == FINISHED
