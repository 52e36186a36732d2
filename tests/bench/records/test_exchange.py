"""Records as one file and back: nothing is lost, nothing local is told, and what is broken is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.cli import main
from bench.config import digest
from bench.errors import BenchError, Corrupt, MissingData
from bench.records.exchange import clean, export
from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from bench.records.imported import Imported, bring
from bench.records.reading import write
from reports.load.records import load
from reports.tables import finals, formats
from tests.reports import homes


def lab(home: Path, *, start: str = "", task: str = "digits") -> Folder:
    """A grid of two variants and a control whose ids are those of their identities; one final failed; one loose run."""
    variants: list[homes.Variant] = [(f"eta={i}", "sap", "eta", {"eta": i}, {}) for i in range(2)]
    declared = homes.grid(home, variants, task=task, controls=[], settings=["epochs=6", f"start={start}"])
    folder = Folder(home)
    for number, cell in enumerate(declared["cells"]):
        for seed in homes.SEEDS:
            identity = {"class": "Run", "method": {"name": "sap", "eta": number}, "seed": seed}
            identity |= {} if task == "digits" else {"task": task}
            run = digest(identity)
            entry = {"run": run, "params": {"eta": number}}
            if (number, seed) == (1, 1002):
                entry |= {
                    "run": "",
                    "state": "failed",
                    "reason": f"no file {start or 'x.npz'}; give one that is there",
                }
            else:
                homes.write_run(home, run, model="test_vit", val=90.0 + number, left=0.5, test=89.0 + 0.1 * (seed % 7))
                describe(folder, run, identity, start, task)
            homes.write_entry(home, "grid", "final", cell, number, seed, **entry)
    loose = {"class": "Run", "method": {"name": "dense"}}
    homes.write_run(home, digest(loose), model="test_vit", val=91.0, left=1.0)
    describe(folder, digest(loose), loose, start, "digits")
    return folder


def describe(folder: Folder, run: str, identity: dict[str, Any], start: str, task: str) -> None:
    path = folder.run(run) / "record.json"
    record = read_json(path)
    record["identity"] = identity
    record["run"] = {"model": "test_vit", "method": identity["method"], "task": task, "epochs": 6.0, "start": start}
    record["provenance"] = {**record["provenance"], "command": f"bench study sap start={start}"}
    write_json(path, record)
    curves = pd.read_parquet(folder.run(run) / "curves.parquet")
    curves.assign(**{"method/gate": [float("nan"), *[0.1] * (len(curves) - 1)]}).to_parquet(
        path.with_name("curves.parquet")
    )
    write_json(path.with_name("speed.json"), {"schema": 1, "id": run, "smaller": False, "rows": []})


def texts(folder: Folder) -> list[str]:
    study = load(folder, "grid")
    made = [make(study) for make in (finals.finals, finals.configurations, finals.failures, finals.runs)]
    return [
        text for table in made for text in (formats.csv(table.frame), formats.markdown(table), formats.latex(table))
    ]


def test_a_round_trip_gives_the_same_tables_and_curves(tmp_path: Path) -> None:
    ours, theirs = lab(tmp_path / "ours"), Folder(tmp_path / "theirs")
    assert export(ours, tmp_path / "data.parquet") == 7
    assert bring(theirs, tmp_path / "data.parquet") == Imported(runs=6, studies=1, known=0)
    assert texts(ours) == texts(theirs)
    for run in ours.run_ids():
        pd.testing.assert_frame_equal(ours.curves(run), theirs.curves(run))
        assert ours.speed(run) == theirs.speed(run)
        before, after = ours.record(run), theirs.record(run)
        assert before is not None
        assert after is not None
        assert str(after.provenance.imported_from).startswith("data.parquet (sha256 ")
        assert replace(after, provenance=replace(after.provenance, imported_from=None)) == before


def test_the_file_can_be_computed_with(tmp_path: Path) -> None:
    export(lab(tmp_path), tmp_path / "data.parquet", ("grid",))
    frame = pd.read_parquet(tmp_path / "data.parquet")
    assert len(frame) == 6  # the loose run is in no study
    means = frame.groupby("variant")["metrics.test/top1"].mean()
    assert means["eta=0"] == pytest.approx(89.0 + 0.1 * sum(seed % 7 for seed in homes.SEEDS) / 3)
    assert frame["state"].tolist().count("failed") == 1
    assert frame["task"].unique().tolist() == ["digits"]
    metadata = pq.read_schema(tmp_path / "data.parquet").metadata
    assert metadata[b"prunebench.schema"] == b"1"
    assert list(json.loads(metadata[b"prunebench.studies"])) == ["grid"]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    folder = lab(tmp_path)
    for name in ("one", "two"):
        export(folder, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_no_local_path_is_told(tmp_path: Path) -> None:
    export(lab(tmp_path, start="/home/ann/secret/weights.safetensors"), tmp_path / "data.parquet")
    told = pd.read_parquet(tmp_path / "data.parquet").to_csv() + str(pq.read_schema(tmp_path / "data.parquet").metadata)
    assert "weights.safetensors" in told
    assert not any(word in told for word in ("ann", "secret", str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("start=/data/nets/w.safetensors lr=0.1", "start=w.safetensors lr=0.1"),
        ("folder:/srv/sets/imagenet", "folder:imagenet"),
        ("in ~/work/results/", "in ***"),
        ("no file /home/ann; make it", "no file ***; make it"),
        (r"C:\Users\ann\x.npz is no file", "x.npz is no file"),
        ("ann@host.example holds it", "*** holds it"),
        (
            "gradual/test_vit@0.9: 3/4 of https://arxiv.org/abs/1710.01878",
            "gradual/test_vit@0.9: 3/4 of https://arxiv.org/abs/1710.01878",
        ),
        ("val/top1 is in images/s", "val/top1 is in images/s"),
    ],
)
def test_places_are_cut_and_names_are_kept(text: str, told: str) -> None:
    assert clean({"reason": [text]}) == {"reason": [told]}


def test_an_id_made_of_a_local_path_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="name no local path"):
        export(lab(tmp_path, task="folder:/srv/sets/mine"), tmp_path / "data.parquet")


def test_importing_again_changes_nothing_also_at_home(tmp_path: Path) -> None:
    ours, theirs = lab(tmp_path / "ours", start="/srv/nets/w.safetensors"), Folder(tmp_path / "theirs")
    export(ours, tmp_path / "data.parquet")
    bring(theirs, tmp_path / "data.parquet")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "data.parquet").rename(tmp_path / "other.parquet")
    for folder in (ours, theirs):
        assert bring(folder, tmp_path / "other.parquet") == Imported(runs=0, studies=0, known=6)
    (tmp_path / "other.parquet").rename(tmp_path / "data.parquet")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_own_records_are_never_overwritten(tmp_path: Path) -> None:
    ours, theirs = lab(tmp_path / "ours"), lab(tmp_path / "theirs")
    export(ours, tmp_path / "data.parquet")
    run = theirs.run_ids()[-1]
    record = theirs.record(run)
    assert record is not None
    write(theirs.run(run) / "record.json", replace(record, metrics=replace(record.metrics, val_top1=12.0)))
    with pytest.raises(BenchError, match=f"never overwritten, but run {run} is here with other numbers"):
        bring(theirs, tmp_path / "data.parquet")
    homes.write_entry(theirs.path, "grid", "final", "sap/test_vit:eta=0", 9)
    write(theirs.run(run) / "record.json", record)
    with pytest.raises(BenchError, match="study grid is here and is not the same"):
        bring(theirs, tmp_path / "data.parquet")


def changed(path: Path, rows: Any = lambda frame: frame, **metadata: str) -> Path:
    """The file with other rows or another metadata, beside it."""
    table = pq.read_table(path)
    said = {**table.schema.metadata, **{f"prunebench.{k}".encode(): v.encode() for k, v in metadata.items()}}
    table = rows(table)
    pq.write_table(table.replace_schema_metadata(said), path.with_name("changed.parquet"))
    return path.with_name("changed.parquet")


def set_cell(column: str, value: str) -> Any:
    return lambda table: table.set_column(table.column_names.index(column), column, [[value] * len(table)])


@pytest.mark.parametrize(
    ("rows", "metadata", "told"),
    [
        (lambda table: table, {"schema": "2"}, "files of schema 1 can be read, but changed.parquet has 2"),
        (lambda table: table, {"records": "9"}, "files of records 1 can be read"),
        (lambda table: table, {"studies": "{"}, "must declare its studies"),
        (lambda table: table, {"studies": "{}"}, "a study 'grid' that it does not declare"),
        (lambda table: table.drop_columns(["layers"]), {}, "must have the column 'layers'"),
        (set_cell("record", "{"), {}, "does not hold what its schema says"),
        (set_cell("run", "0123456789ab"), {}, "id is the digest of its identity, but run '0123456789ab'"),
        (set_cell("study", "../../x"), {}, "does not declare, or that is no name"),
        (set_cell("entry", '{"kind": "../x", "cell": "a", "number": 0, "seed": 0, "run": ""}'), {}, "no kind"),
    ],
)
def test_what_is_broken_is_refused_before_anything_is_written(
    rows: Any, metadata: dict[str, str], told: str, tmp_path: Path
) -> None:
    export(lab(tmp_path / "ours"), tmp_path / "data.parquet", ("grid",))
    with pytest.raises(BenchError, match=told):
        bring(Folder(tmp_path / "theirs"), changed(tmp_path / "data.parquet", rows, **metadata))
    assert not (tmp_path / "theirs").exists()


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no file"):
        bring(Folder(tmp_path), tmp_path / "data.parquet")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(Corrupt, match="must be a parquet file"):
        bring(Folder(tmp_path), tmp_path / "text")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "frame")
    with pytest.raises(BenchError, match="must be a file of `bench export-data`"):
        bring(Folder(tmp_path), tmp_path / "frame")
    with pytest.raises(MissingData, match="something to export"):
        export(Folder(tmp_path), tmp_path / "none")


def test_the_commands_say_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab(tmp_path / "ours")
    for home, words in (("ours", ["export-data", "grid", "--out"]), ("theirs", ["import-data"])):
        monkeypatch.setenv("BENCH_HOME", str(tmp_path / home))
        monkeypatch.setattr("sys.argv", ["bench", *words, str(tmp_path / "data.parquet")])
        with pytest.raises(SystemExit, match="0"):
            main.main()
    told = " ".join(capsys.readouterr().out.split())
    assert "6 rows, schema 1" in told
    assert "imported 5 new runs and 1 new studies" in told
    assert "(0 runs were there before)" in told
