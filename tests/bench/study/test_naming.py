"""Names of studies: those of before, which every home and server holds, and that a new field changes none of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from typing import Any

import pytest

from bench import registry
from bench.config import digest
from bench.records.protocol import PROTOCOL
from bench.study.naming import BASELINE, STUDY, VARIANT, first_text, later_fields
from bench.study.study import Baseline, Study, Variant

NAMES = {
    "architectures": ("architectures-gradual-cifar10-808d4f", "architectures-gradual-digits-dd91b0"),
    "compare": ("compare-digits-c4d6af", "compare-digits-f3d63e"),
    "decay_hosts": ("decay_hosts-cifar10-0b478d", "decay_hosts-digits-58d513"),
    "decay_steps": ("decay_steps-cifar10-189157", "decay_steps-digits-e97822"),
    "defaults": ("defaults-cifar10-d33719", "defaults-digits-8726e5"),
    "drop_ablation": ("drop_ablation-cifar10-842847", "drop_ablation-digits-663bb1"),
    "headline": ("headline-cifar10-2d39e5", "headline-digits-539ed4"),
    "ladder": ("ladder-sap-digits-579e6e", "ladder-sap-digits-43947d"),
    "large_sparse_small_dense": (
        "large_sparse_small_dense-cifar10-741213",
        "large_sparse_small_dense-digits-b4aa39",
    ),
    "pareto": ("pareto-sap-digits-023e87", "pareto-sap-digits-7d6312"),
    "real_speed": ("real_speed-digits-d3da4e", "real_speed-digits-912291"),
    "sap_phases": ("sap_phases-cifar10-99f314", "sap_phases-digits-d755ec"),
}
"""The names of the studies of this project, of full and of small size, with sap where a study takes any method."""

CHANGED: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("pareto", ("gradual",), {}, "pareto-gradual-digits-023e87"),
    (
        "pareto",
        ("sap", "gradual"),
        {"sampler": "qmc", "seed": 3, "cost": "macs/fraction"},
        "pareto-sap-gradual-digits-3bd87b",
    ),
    (
        "pareto",
        ("sap",),
        {"task": "cifar10", "models": ("cifar_resnet20",), "settings": ("epochs=60",), "trials": 50},
        "pareto-sap-cifar10-07e3f2",
    ),
    ("pareto", ("sap",), {"task": "folder:/data/my set/", "models": ("test_vit",)}, "pareto-sap-my set-8af4f4"),
    ("ladder", ("depgraph",), {}, "ladder-depgraph-digits-579e6e"),
    ("ladder", ("rigl",), {"targets": (0.5, 0.9)}, "ladder-rigl-digits-ea6a95"),
    (
        "ladder",
        ("sap",),
        {"settings": ("start=it's.safetensors", 'start="a".safetensors', "start=grün\\x.safetensors")},
        "ladder-sap-digits-a24af0",
    ),
    ("architectures", ("rigl",), {"settings": ("sparsity=0.9",)}, "architectures-rigl-cifar10-770551"),
    ("defaults", (), {"settings": ("start=cifar10_resnet20.safetensors",)}, "defaults-cifar10-35b818"),
    ("defaults", ("gradual",), {"targets": (0.5,)}, "defaults-cifar10-3e2491"),
    (
        "decay_hosts",
        ("depgraph",),
        {"models": ("cifar_resnet56",), "settings": ("epochs=40", "lr=0.01")},
        "decay_hosts-cifar10-ba247e",
    ),
    (
        "compare",
        ("gradual", "sap"),
        {
            **{"trials": 20, "task": "cifar10", "models": ("cifar_resnet20",)},
            "settings": ("epochs=60", "dense.epochs=60", "lr=0.1", "sap.rounds=3"),
        },
        "compare-cifar10-a2263b",
    ),
    ("compare", ("gradual",), {"recoveries": ("none", "lr")}, "compare-digits-0d9e91"),
    ("compare", ("gradual",), {"dense_seeds": (7, 8), "derived": ("random_ratios", "reinit")}, "compare-digits-ce2c39"),
]


def declared(name: str, methods: tuple[str, ...] = (), **changes: Any) -> Study:
    study: Study = registry.load(registry.STUDIES, name).study(methods, **changes)
    return study


def named_before(study: Study) -> str:
    """A study's name as the version before made it."""
    what: tuple[Any, ...] = (study.models, study.targets, study.settings, study.cost, study.sampler)
    what = (*what, study.generation, study.seed)
    what = (*what, study.methods) if study.topic else what
    if study.variants:
        what = (*what, [(v.method, v.label, v.settings, *filter(None, [v.model])) for v in study.variants])
    what = (*what, *filter(None, (sorted(study.own.items()), study.baselines, study.recoveries)))
    what = (*what, study.dense) if study.dense is not None else what
    if study.frozen:
        what = (*what, study.trials, study.finals, study.final_seeds, study.dense_seeds)
        what = (*what, study.controls, study.derived, study.scratch, PROTOCOL)
    about = study.topic or f"{study.kind.name}-{'-'.join(study.methods)}"
    task = study.task.rstrip("/").rpartition("/")[2].replace(":", "-")
    return f"{about}-{task}-{digest({'': repr(what)})[:6]}"


def test_the_names_of_the_studies_are_those_of_before() -> None:
    """If this fails, every home and server loses its studies: `make study` begins them anew under other names."""
    any_method = {"ladder": ("sap",), "pareto": ("sap",)}
    found = {
        name: tuple(declared(name, any_method.get(name, ()), smoke=smoke).name for smoke in (False, True))
        for name in registry.names(registry.STUDIES)
    }
    assert found == NAMES


@pytest.mark.parametrize(("name", "methods", "changes", "expected"), CHANGED, ids=[case[-1] for case in CHANGED])
def test_the_names_of_changed_studies_are_those_of_before(
    name: str, methods: tuple[str, ...], changes: dict[str, Any], expected: str
) -> None:
    study = declared(name, methods, **changes)
    assert study.name == expected
    if not later_fields(study, STUDY):
        assert named_before(study) == expected


@pytest.mark.parametrize("name", ["compare", "decay_hosts", "pareto"])
def test_a_study_from_a_storage_is_the_same_study(name: str) -> None:
    """Workers read the declaration from the storage, where a list stands for each tuple."""
    study = declared(name, ("sap",) if name == "pareto" else ())
    stored = json.loads(json.dumps(study.to_dict()))
    assert isinstance(stored["kind"], str)
    assert Study.from_dict(stored) == study
    assert Study.from_dict(stored).name == study.name


def test_a_declaration_without_newer_fields_is_read() -> None:
    stored = declared("pareto", ("sap",)).to_dict()
    for name in ("own", "baselines", "variants", "recoveries", "frozen"):
        del stored[name]
    assert Study.from_dict(stored) == declared("pareto", ("sap",))


@dataclass(frozen=True)
class LaterStudy(Study):
    """A study of a later version."""

    patience: int = 3
    tags: dict[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    note: str = field(default="", metadata={"identity": False})


LATER_BASELINE = make_dataclass("Baseline", [("repeat", int, 1)], bases=(Baseline,), frozen=True)
LATER_VARIANT = make_dataclass("Variant", [("repeat", int, 1)], bases=(Variant,), frozen=True)


def later(study: Study, **changes: Any) -> LaterStudy:
    return LaterStudy(**{**{f.name: getattr(study, f.name) for f in fields(study)}, **changes})


@pytest.mark.parametrize("name", ["compare", "decay_hosts", "pareto"])
def test_a_new_field_with_a_default_renames_nothing(name: str) -> None:
    study = declared(name, ("sap",) if name == "pareto" else ())
    baselines = tuple(LATER_BASELINE(**asdict(b)) for b in study.baselines)
    variants = tuple(LATER_VARIANT(**asdict(v)) for v in study.variants)
    assert later(study, baselines=baselines, variants=variants).name == study.name
    assert later(study, note="not a number depends on it").name == study.name


def test_a_new_field_with_another_value_is_another_study() -> None:
    compare, hosts = declared("compare"), declared("decay_hosts")
    base, variant = compare.baselines[0], hosts.variants[0]
    names = [
        compare.name,
        later(compare, patience=4).name,
        later(compare, tags={"a": (1, 2)}).name,
        later(compare, baselines=(LATER_BASELINE(**asdict(base), repeat=2), *compare.baselines[1:])).name,
    ]
    assert len(set(names)) == 4
    assert later(hosts, variants=(LATER_VARIANT(**asdict(variant), repeat=2), *hosts.variants[1:])).name != hosts.name


def test_every_field_is_of_the_first_version_or_counts_by_itself() -> None:
    assert {f.name for f in fields(Study)} >= set(STUDY)
    assert {f.name for f in fields(Variant)} >= set(VARIANT)
    assert {f.name for f in fields(Baseline)} >= set(BASELINE)


@pytest.mark.parametrize(
    "value",
    [
        (),
        (1,),
        ("a", 2.5),
        [("a", ("b=1",))],
        ("it's", 'a "b"', "ü\n"),
        (None, True),
        (1e-05, -0.0),
        Baseline("a", "b"),
    ],
    ids=str,
)
def test_values_are_written_as_before(value: object) -> None:
    assert first_text(value) == repr(value)


def test_what_the_first_version_did_not_have_is_no_text() -> None:
    with pytest.raises(TypeError, match="plain values"):
        first_text((Variant("a", "b"),))


def test_only_what_numbers_depend_on_is_in_the_name() -> None:
    hosts, compare = declared("decay_hosts"), declared("compare")
    assert replace(hosts, question="Another?", figures=(), speed=(), lenient=True).name == hosts.name
    assert replace(hosts, variants=tuple(replace(v, group="x", facts={}) for v in hosts.variants)).name == hosts.name
    assert replace(compare, trials=3).name != compare.name  # frozen
