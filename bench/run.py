"""A run: all that can change its result, as frozen data. Its id is a digest of its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from bench import registry
from bench.config import Config, digest, hp, owner, rule
from bench.errors import BenchError, MissingData
from bench.method import Method, method_from
from bench.recipe import KINDS, Recipe

START_RUN = "run:"
SHUFFLED = "shuffled:"


@dataclass(frozen=True)
class Run(Config):
    """One training of one model by one method. Fields with ``identity=False`` say where it runs, and change no result."""

    method: Method[Any]
    task: str = hp("digits", help="data set: see `bench list tasks`, or folder:PATH")
    model: str = hp(
        "test_efficientnet",
        help="any timm architecture, see `bench list models`; arguments as in cifar_resnet20:width=0.5",
    )
    recipe: Recipe = field(default=Recipe())
    epochs: float = hp(10.0, above=0, high=1e6, help="passes over the training images, all phases together")
    seed: int = hp(0, low=0, help="of initialisation, data order, augmentation and the method")
    start: str = hp("", help="starting weights: nothing, timm, run:ID, or a file (.safetensors, .pth)")
    shape: str = hp("", help="run:ID or shuffled:ID: with the channels and zeros of a finished run, not its weights")
    recovery: str = hp(
        "none",
        choices=("none", *KINDS),
        help="after the method: nothing, fine-tuning, or rewinding of the learning rate or of the weights too",
    )
    recover: float = hp(0.3, above=0, below=1, help="share of the epochs that the recovery takes from the method")
    rewind_to: float = hp(
        0.0, low=0, below=1, help="share of the method's steps whose weights come back; 0: the run's start (weights)"
    )
    share_of: str = hp(
        "method",
        choices=("method", "params", "macs"),
        help="what the target is a share of: what the method says, or all parameters or MACs of the whole model",
    )
    image_size: int = hp(0, low=0, help="pixels at the model's input; 0: the task's, or what the model needs")
    test: bool = hp(False, help="open the test split once, for the finished model")
    data: str = hp("", help="digest of the images of folder:PATH, which the command line fills in")
    device: str = hp("auto", help="auto, cpu, cuda or cuda:N", identity=False)
    threads: int = hp(0, low=0, help="CPU threads; 0: all cores, shared by runs side by side", identity=False)
    workers: int = hp(4, low=0, help="processes that decode images of folder: tasks", identity=False)

    def check(self) -> None:
        """Checks that a shape names a run, and that fields of a recovery are set only with one."""
        if self.shape and not self.shape.startswith((START_RUN, SHUFFLED)):
            raise BenchError(f"`shape` names a finished run, but got {self.shape!r}; write shape=run:ID or shuffled:ID")
        if self.data and not self.task.startswith("folder:"):
            raise BenchError(f"`data` is the digest of a folder's images, but got task={self.task}; leave it out")
        needs = {"recover": KINDS, "rewind_to": ("weights",)}
        for one in fields(self):
            kinds = needs.get(one.name)
            if kinds and self.recovery not in kinds and getattr(self, one.name) != one.default:
                raise BenchError(
                    f"`{one.name}` needs recovery={' or '.join(kinds)}, but got recovery={self.recovery}; "
                    f"set that, or leave {one.name} out"
                )

    def identity(self) -> dict[str, Any]:
        """Returns what is hashed and shown; of a file of starting weights, and of a folder of images whose digest is known, the
        digest of the content: where they lie does not matter."""
        found = super().identity()
        if found.pop("data", ""):
            found["task"] = f"folder:sha256:{self.data}"
        if self.start and self.start != "timm" and not self.start.startswith(START_RUN):
            found["start"] = f"sha256:{file_digest(self.start)[:16]}"
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as JSON values; without ``data`` where it is not known, as in records of earlier versions."""
        found = super().to_dict()
        return found if self.data else {key: value for key, value in found.items() if key != "data"}

    @property
    def id(self) -> str:
        """12 hex digits: the run's folder, and its name everywhere."""
        return digest(self.identity())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the run of `to_dict`."""
        rest = dict(values)
        method, recipe = method_from(rest.pop("method")), Recipe.from_dict(rest.pop("recipe", {}))
        return super().from_dict({"method": method, "recipe": recipe, **rest})

    def with_values(self, settings: Iterable[str]) -> Run:
        """Returns the run with ``key=value`` settings; a key is a field of the run, of its recipe or of its method.

        Raises:
            BenchError: for an unknown key (with the nearest valid one), or a value out of its range.
        """
        changes: dict[str, dict[str, Any]] = {"run": {}, "recipe": {}, "method": {}}
        known = self.keys()
        for setting in settings:
            key, equals, value = setting.partition("=")
            if not equals:
                raise BenchError(f"settings are written key=value, but got {setting!r}; write for example epochs=5")
            part, name = owner(key, known)
            changes[part][name] = value
        if "task" in changes["run"]:
            changes["run"].setdefault("data", "")  # that of another task
        return replace(
            self,
            method=_changed(self.method, changes["method"]),
            recipe=replace(self.recipe, **changes["recipe"]),
            **changes["run"],
        )

    def keys(self) -> dict[str, str]:
        """Returns every key that can be set, with the part that it belongs to: "run", "recipe" or "method"."""
        own = {f.name: "run" for f in fields(self) if f.name not in ("method", "recipe")}
        recipe = {f.name: "recipe" for f in fields(self.recipe)}
        return own | recipe | {name: "method" for name, *_ in describe(self.method)}


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration with other values. The key ``part.field`` is a field of the configuration in the field ``part``."""
    own = {key: value for key, value in changes.items() if "." not in key}
    for key, value in changes.items():
        part, dot, name = key.partition(".")
        if dot:
            own[part] = _changed(own.get(part, getattr(config, part)), {name: value})
    return replace(config, **own)


def new_run(method: str, settings: Iterable[str] = (), **values: Any) -> Run:
    """Returns a run of a method by its name, with ``key=value`` settings; ``values`` are fields of the run."""
    cls: type[Method[Any]] = registry.load(registry.METHODS, method).METHOD
    return Run(method=cls(), **values).with_values(settings)


def file_digest(path: str) -> str:
    """Returns the SHA-256 of a file's content, in hex; raises `MissingData` where there is no file."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingData(f"starting weights {path!r} are no file; give a .safetensors file, timm, or run:ID")
    return _digest(str(file), file.stat().st_mtime_ns, file.stat().st_size)


@cache
def _digest(path: str, _mtime: int, _size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def describe(config: Config) -> list[tuple[str, Any, str, str]]:
    """Returns name, default, range and help of each field, for `bench show`; fields of a field ``part`` are ``part.field``."""
    found = list[tuple[str, Any, str, str]]()
    for f in fields(config):
        value = getattr(config, f.name)
        if isinstance(value, Config):
            inner = () if isinstance(config, Run) else describe(value)
            found += [(f"{f.name}.{name}", *rest) for name, *rest in inner]
        else:
            found.append((f.name, value, rule(f), f.metadata.get("help", "")))
    return found
