"""The whole report, from files to files."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError, MissingData
from bench.records.folder import Folder
from bench.records.study_record import Entry
from reports import build as building
from reports.build import build
from reports.load.records import load
from reports.page import requested
from tests.reports import homes
from tests.reports.looking import Page

EVIL = "<script>alert(1)</script>"
FIGURES = [
    "accuracy-macs-left",
    "accuracy-weights-left",
    "curves",
    "history",
    "importances",
    "layers",
    "pq-rounds",
    "slices",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return homes.full(tmp_path_factory.mktemp("home"), models=["test_vit"])


@pytest.fixture(scope="module")
def out(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(home, tmp_path_factory.mktemp("out")).parent


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but not written as PDF, SVG and PNG, for tests that look at none."""
    monkeypatch.setattr("reports.build.render", lambda canvas: dict.fromkeys(("pdf", "svg", "png"), b""))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_figure_and_table_in_every_format(out: Path) -> None:
    figures, tables = out / "pareto-sap" / "figures", out / "pareto-sap" / "tables"
    ends = [".csv", *(f"-{width}.{kind}" for width in ("column", "page") for kind in ("pdf", "png", "svg"))]
    assert sorted(p.name for p in figures.iterdir()) == sorted(f + end for f in FIGURES for end in ends)
    names = ["card", "configurations", "damage", "failures", "finals", "runs"]
    assert sorted(p.name for p in tables.iterdir()) == sorted(
        f"{n}.{kind}" for n in names for kind in ("csv", "md", "tex")
    )


def test_the_page_stands_alone(out: Path) -> None:
    text = (out / "index.html").read_text()
    page = Page(text)
    assert all(a.startswith(("data:", "#")) for a in page.addresses)
    assert "http://" not in text
    assert "https://" not in text
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_numbers_link_to_their_runs(out: Path) -> None:
    page = Page((out / "index.html").read_text())
    runs = [homes.run_id("pareto-sap", "final", "sap/test_vit", 2, seed) for seed in homes.SEEDS]
    assert f"#study-1-run-{runs[0]}" in page.addresses
    text = (out / "index.html").read_text()
    assert f'<a class="from" href="#study-1-run-{runs[0]}" data-runs="{" ".join(runs)}">93.00 ± 2.48</a>' in text


@pytest.mark.slow
def test_runs_lead_to_mlflow_where_the_report_is_told_how(home: Path, out: Path, tmp_path: Path) -> None:
    """Nothing else of the page changes, and nothing is loaded from there."""
    run = homes.run_id("pareto-sap", "final", "sap/test_vit", 2, 1000)
    address = "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    text = build(home, tmp_path / "linked", links={"pareto-sap": {run: address}}).read_text()
    page = Page(text)
    assert [a for a in page.addresses if not a.startswith(("data:", "#"))] == [address]
    link = f'<a class="run" target="_blank" rel="noopener" href="{address}">{run}</a>'
    assert text.replace(link, f"<code>{run}</code>") == (out / "index.html").read_text()


FEWER = "import reports.build as b; every = b.makers; b.makers = lambda study: every(study)[-2:]; "


def built_elsewhere(home: Path, out: Path, before: str = "") -> Path:
    """The report by another process, with another hash seed, another time zone and another working folder."""
    build_it = "import sys, pathlib, reports.build as b; b.build(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    changed = {
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SOURCE_DATE_EPOCH": "",
    }
    environment = {k: v for k, v in {**os.environ, **changed}.items() if v}
    subprocess.run([sys.executable, "-c", before + build_it, home, out], check=True, env=environment, cwd=out.parent)
    return out


def test_the_same_records_give_the_same_bytes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a page with two figures; with all of them, among the slow tests."""
    every = building.makers
    monkeypatch.setattr(building, "makers", lambda study: every(study)[-2:])
    out = build(home, tmp_path / "here").parent
    assert len({path.name for path in out.rglob("*.svg")}) == 4
    assert digests(built_elsewhere(home, tmp_path / "again", FEWER)) == digests(out)


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_of_every_figure(home: Path, out: Path, tmp_path: Path) -> None:
    assert digests(built_elsewhere(home, tmp_path / "again")) == digests(out)


@pytest.mark.usefixtures("unrendered")  # figures stand in the page as data of images, where nothing runs
def test_what_comes_from_records_cannot_run(tmp_path: Path) -> None:
    model, name = f"m{EVIL}", "pareto-evil"
    cells = {f"sap/{model}": {"method": "sap", "model": model, "target": None, "space": {}, "importances": {}}}
    homes.declare(tmp_path, name=name, models=[model], cells=cells, question=EVIL, command=EVIL)
    homes.write_run(tmp_path, run := homes.run_id("evil"), model=model, val=90.0, left=0.5)
    folder = Folder(tmp_path)
    entry = {
        "kind": "trial",
        "number": 0,
        "seed": 0,
        "run": run,
        "params": {},
        "values": [90.0, 0.5],
        "state": "finished",
    }
    path = tmp_path / "studies" / name / "entries"
    folder.write_entry(name, Entry.from_json({**entry, "cell": "x"}))
    (path / "trial-x-0000-s0.json").unlink()
    homes.write_json(path / "a.json", {**entry, "cell": f"sap/{model}", "reason": None})
    homes.write_json(path / "b.json", {**entry, "cell": f"sap/{model}", "number": 1, "state": "failed", "reason": EVIL})
    text = build(tmp_path, tmp_path / "out").read_text()
    assert Page(text).tags.count("script") == 1
    assert "&lt;script&gt;alert(1)" in text


def test_a_study_that_has_only_begun(tmp_path: Path) -> None:
    declared = homes.declare(tmp_path, state="running", cells={})
    homes.write_entry(tmp_path, declared["name"], "trial", "sap/test_vit", 0, state="running")
    text = build(tmp_path, tmp_path / "out").read_text()
    assert text.count("Not drawn:") == len(FIGURES)
    assert "The study is not finished: 1 runs" in text
    assert "No trial has a result yet." in text


@pytest.mark.usefixtures("unrendered")
def test_fewer_records_give_an_honest_report(tmp_path: Path) -> None:
    text = build(homes.full(tmp_path, trials=4, seeds=(), models=["test_vit"]), tmp_path / "out").read_text()
    assert "There are no finals yet" in text


def test_a_study_of_failures_only(tmp_path: Path) -> None:
    declared = homes.declare(tmp_path, cells={})
    homes.write_entry(tmp_path, declared["name"], "trial", "sap/test_vit", 0, state="failed", reason="out of memory")
    text = build(tmp_path, tmp_path / "out").read_text()
    assert "out of memory" in text
    assert "1 of 1 runs have no result" in text


@pytest.mark.slow
def test_ladder_and_many_layers(tmp_path: Path) -> None:
    cells = {
        f"gradual/wide@{t}": {"method": "gradual", "model": "wide", "target": t, "space": {}, "importances": {}}
        for t in (0.8, 0.9)
    }
    changes = {"kind": "ladder", "methods": ["gradual"], "models": ["wide"], "objectives": ["accuracy"], "claims": {}}
    declared = homes.declare(tmp_path, name="ladder-gradual", cells=cells, **changes)
    homes.LAYERS["wide"] = 90
    for cell, facts in cells.items():
        for kind, number, seed in [("trial", 0, 0), ("trial", 1, 0), *(("final", 1, s) for s in homes.SEEDS)]:
            run = homes.run_id(kind, cell, number, seed)
            test = 88.0 if kind == "final" else None
            homes.write_run(
                tmp_path, run, model="wide", val=89.0 + number, left=1 - facts["target"], test=test, rounds=1
            )
            rest = {"run": run, "values": [89.0 + number] if kind == "trial" else None}
            homes.write_entry(tmp_path, declared["name"], kind, cell, number, seed, **rest)
    text = build(tmp_path, tmp_path / "out").read_text()
    assert "gradual @0.8 #1" in text
    assert "no shown run trains in more than one phase" in text


def test_progress_is_told(tmp_path: Path) -> None:
    homes.declare(tmp_path, cells={})
    told: list[tuple[int, int, str]] = []
    build(tmp_path, tmp_path / "out", progress=lambda *what: told.append(what))
    assert [done for done, _, _ in told] == list(range(len(FIGURES) + 2))
    assert {total for _, total, _ in told} == {len(FIGURES) + 1}


def test_an_empty_home_says_which_command_makes_records(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="make study METHOD=sap"):
        build(tmp_path, tmp_path / "out")


def test_an_unknown_study_is_refused_with_the_nearest(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did you mean 'pareto-sap'"):
        build(home, tmp_path / "out", studies=["pareto-sop"])
    assert not (tmp_path / "out").exists()


def test_text_in_figures_is_never_mathematics(out: Path) -> None:
    svg = (out / "pareto-sap" / "figures" / "curves-page.svg").read_text()
    assert re.search(r"<!-- test_vit -->", svg)


@pytest.mark.slow
def test_figures_drawn_side_by_side_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = homes.full(tmp_path / "home", trials=4, seeds=(1000,), models=["test_vit"])
    build(home, tmp_path / "alone")
    monkeypatch.setattr(building, "MANY", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    build(home, tmp_path / "together")
    texts = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "alone", tmp_path / "together")
    ]
    assert texts[0] == texts[1]


def test_every_figure_can_be_sent_to_another_process(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path)), "pareto-sap")
    asked = [*building.makers(study), *requested.FIGURES.values()]
    for make in asked:
        figure = make(study)
        assert pickle.loads(pickle.dumps(figure)).name == figure.name
