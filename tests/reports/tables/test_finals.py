from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from bench.records.folder import Folder
from reports.load.records import Study, load
from reports.tables import finals, formats
from tests.reports import homes, samples


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(Folder(homes.full(tmp_path, models=["test_vit"])), "pareto-sap")


def rows(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("|")]


def test_finals_by_hand(study: Study) -> None:
    """The whole table, checked once by hand: t(0.975, 2) x 1 / sqrt(3) = 2.48; 0.05 ** 0.7 = 0.1228."""
    runs = [
        homes.run_id("pareto-sap", *key, seed) for key in (("baseline", "dense/test_vit", 0),) for seed in homes.SEEDS
    ]
    found = rows(formats.markdown(finals.finals(study)))
    assert found[2] == (
        r"| test\_vit | dense | 3 | 95.00 ± 2.48 | 96.00 | 0.00 | 100.0 | 100.0 | 400.0 | 12.5 | "
        + " ".join(runs)
        + " |"
    )
    assert [line.rpartition("|")[0].rpartition("|")[0] + "|" for line in found[3:5]] == [
        r"| test\_vit | sap #2 | 3 | 93.00 ± 2.48 | 94.00 | 65.0 | 35.0 | 48.0 | 140.0 | 12.5 |",
        r"| test\_vit | sap #6 | 3 | 89.00 ± 2.48 | 90.00 | 95.0 | 5.00 | 12.3 | 20.0 | 12.5 |",
    ]
    assert found[5] == (
        "| *resnet18 (cifar10)* | *sap, paper* | – | *94.60* | – | *98.0* | – | – | – | – | "
        "*arXiv:2302.05601, figure 4; read off a figure; differs in task and model* |"
    )
    assert len(found) == 6


def test_claims_are_in_no_mean(study: Study) -> None:
    frame = finals.finals_frame(study)
    assert frame.loc[frame["claim"], ["n", "val_top1", "weights_left"]].isna().all(axis=None)


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    study = load(Folder(homes.full(tmp_path, seeds=(1001,))), "pareto-sap")
    found = rows(formats.markdown(finals.finals(study)))
    assert "| 1 | 95.00 | 96.00 |" in found[2]
    assert "±" not in "".join(found)


def test_failures_have_their_reason(study: Study) -> None:
    table = finals.failures(study)
    (row,) = table.rows()
    assert (row["kind"], row["cell"], row["number"], row["state"]) == ("trial", "sap/test_vit", 3, "failed")
    assert "must stay finite" in row["reason"]
    assert table.caption.startswith("Runs without a result: 1 of 17.")


def test_configurations_carry_the_numbers_that_chose_them(study: Study) -> None:
    (first, second) = finals.configurations(study).rows()
    trial = study.done("trial").set_index("number").loc[2]
    assert (first["label"], first["settings"], first["val_top1"]) == ("sap #2", "gamma=3.0 p=0.5", trial["val_top1"])
    assert second["label"] == "sap #6"


def test_settings_are_exact_as_data_and_short_to_read() -> None:
    exact = finals.settings({"q": 1.2094817234, "eta": 1e-05, "rounds": 8, "scope": "global.x"})
    assert exact == "eta=1e-05 q=1.2094817234 rounds=8 scope=global.x"
    assert finals.short({"settings": exact}) == "eta=1e-05 q=1.209 rounds=8 scope=global.x"
    assert finals.short({"settings": ""}) == "–"


def test_csv_keeps_every_digit(study: Study) -> None:
    frame = finals.finals_frame(study)
    again = pd.read_csv(io.StringIO(formats.csv(frame)))
    assert again["test_top1_half"].tolist()[:3] == pytest.approx(frame["test_top1_half"].tolist()[:3], abs=1e-15)
    assert again["runs"][0] == " ".join(frame["runs"][0])


def test_latex_and_markdown_escape() -> None:
    assert formats.latex_escape(r"a_b & 5% #1 $x$ {y} \z ~^ <|>") == (
        r"a\_b \& 5\% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{}\textasciicircum{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert formats.latex_escape("[two]\nlines ± 1") == r"{[}two] lines $\pm$ 1"
    assert formats.markdown_escape("a|b\n<script> *x*") == r"a\|b &lt;script&gt; \*x\*"


def test_latex_uses_booktabs(study: Study) -> None:
    text = formats.latex(finals.finals(study))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\usepackage{booktabs}", r"sap \#2", r"93.00 $\pm$ 2.48"):
        assert rule in text
    assert r"\textit{94.60}" in text
    assert r"\textit{resnet18 (cifar10)}\,\textsuperscript{1}" in text
    assert r"\textsuperscript{1}\,arXiv:\allowbreak{}2302.05601, figure 4; read off a figure; differs in task" in text
    columns = text.partition(r"\begin{tabular}")[2].splitlines()
    assert all(line.count(" & ") == 9 for line in columns if line.endswith(r"\\"))


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    return samples.variants(tmp_path)


def test_finals_have_a_row_per_variant_group_by_group(grid: Study) -> None:
    table = finals.finals(grid)
    assert [row["label"] for row in table.rows()] == ["dense", "sap eta=1", "sap eta=0.1", "drop† both 0.9"]
    assert table.columns[0].head == "group"
    assert "#k" not in table.caption


def test_without_groups_each_model_stands_beside_its_control(tmp_path: Path) -> None:
    declared = homes.grid(tmp_path, [("", "sap", "", {}, {})], models=["a", "b"])
    for cell in declared["cells"]:
        homes.final(tmp_path, declared, cell, 1000, val=90.0, left=0.5, test=90.0)
    table = finals.finals(load(Folder(tmp_path), "grid"))
    found = [(row["model"], row["label"]) for row in table.rows()]
    assert found == [("a", "dense"), ("a", "sap"), ("b", "dense"), ("b", "sap")]
    assert table.columns[0].head == "model"


def test_the_variants_are_listed_with_settings_and_facts(grid: Study) -> None:
    rows = finals.configurations(grid).rows()
    assert [row["settings"] for row in rows] == ["eta=1", "eta=0.1", "final=0.9"]
    assert [row["facts"] for row in rows] == ["", "predicted=0.25", ""]


def test_facts_that_differ_between_models_are_told_for_each(tmp_path: Path) -> None:
    declared = homes.grid(tmp_path, samples.VARIANTS[1:2], models=["a", "b"], controls=[])
    declared["cells"]["sap/b:eta=0.1"]["facts"] = {"predicted": 0.5}
    homes.declare(tmp_path, **declared)
    (row,) = finals.configurations(load(Folder(tmp_path), "grid")).rows()
    assert row["facts"] == "a: predicted=0.25; b: predicted=0.5"
