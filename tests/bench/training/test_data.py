"""A result belongs to its data: other images are another run, and a run never goes on with other images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import tasks
from bench.errors import BenchError
from bench.records.files import read_json, write_json
from bench.records.home import Home
from bench.run import Run, new_run
from bench.scheduler.pool import Pool
from bench.study.study import Study
from bench.training.data import require_same_data
from bench.training.execute import execute
from bench.training.loop import Stopped

TINY = ("model=test_resnet", "image_size=32", "workers=0", "device=cpu", "lr=0.01")


def paint(folder: Path, classes: list[str], counts: dict[str, int], seed: int = 0, size: int = 32) -> Path:
    rng = np.random.default_rng(seed)
    for part, count in counts.items():
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def animals(folder: Path, seed: int = 0) -> Path:
    return paint(folder, ["cat", "dog"], {"train": 8, "test": 2}, seed)


def a_run(home: Home, task: str, *settings: str) -> Run:
    run = new_run("dense", [f"task={task}", "epochs=1", "batch=4", *TINY, *settings])
    return replace(run, data=tasks.folder_images(run.task, home.cache).digest)


def interrupted(run: Run, home: Home) -> None:
    """Compute the first steps of a run, which ends with a checkpoint."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(0)
        return len(asked) > 2

    with pytest.raises(Stopped):
        execute(run, home, stop=stop)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return replace(Home(), path=tmp_path / "home", data=tmp_path / "data")


def test_two_projects_with_a_folder_of_one_name_are_two_runs(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, scores = [], []
    for number, project in enumerate(("one", "two", "copy of one")):
        animals(tmp_path / project / "images", seed=number % 2)
        monkeypatch.chdir(tmp_path / project)
        run = a_run(home, "folder:images")
        record = execute(run, home)
        assert record.provenance.data["digest"].startswith(run.data)
        ids.append(record.id)
        scores.append((record.metrics.val_loss, record.provenance.started))
    assert ids[0] == ids[2] != ids[1]  # the images decide, not the place
    assert scores[0] == scores[2]
    assert scores[0][0] != scores[1][0]


def test_the_digest_is_part_of_a_runs_and_of_a_studys_identity() -> None:
    run = new_run("dense", ["task=folder:images"])
    assert run.identity()["task"] == "folder:images"  # as in records of earlier versions
    known = replace(run, data="0123456789abcdef")
    assert known.identity()["task"] == "folder:sha256:0123456789abcdef"
    assert "data" not in known.identity()
    assert known.id == replace(known, task="folder:/elsewhere").id != run.id
    assert Run.from_dict(known.to_dict()) == known
    assert "data" not in run.to_dict()
    assert known.with_values(["task=folder:other"]).data == ""
    with pytest.raises(
        BenchError, match="`data` is the digest of a folder's images, but got task=digits; leave it out"
    ):
        replace(run, task="digits", data="0123456789abcdef")

    study = Study("pareto", "?", ("oneshot",), ("test_resnet",), "folder:images")
    other = replace(study, data="0123456789abcdef")
    assert study.name != other.name
    assert other.cells()[0].run({}, 0).data == other.data
    assert Study.from_dict(other.to_dict()).name == other.name


@pytest.mark.parametrize("change", ["image", "more", "fewer"])
def test_a_run_does_not_go_on_with_other_images(home: Home, tmp_path: Path, change: str) -> None:
    folder = animals(tmp_path / "set")
    run = a_run(home, f"folder:{folder}")
    interrupted(run, home)
    cat = folder / "train/cat"
    if change == "image":
        Image.new("RGB", (32, 32)).save(cat / "0.png")
    elif change == "more":
        Image.new("RGB", (32, 32)).save(cat / "8.png")
    else:
        (cat / "0.png").unlink()
    told = {"image": "has other images", "more": "has 9 images instead of 8", "fewer": "has 7 images instead of 8"}[
        change
    ]
    with pytest.raises(
        BenchError, match=rf"goes on with the images that it began with, .*train/cat {told}\); restore .*delete"
    ):
        execute(run, home)
    fresh = a_run(home, f"folder:{folder}")
    assert fresh.id != run.id
    assert execute(fresh, home).finished


def test_images_that_change_before_the_run_begins_are_refused(home: Home, tmp_path: Path) -> None:
    folder = animals(tmp_path / "set")
    run = a_run(home, f"folder:{folder}")
    (folder / "test/dog/1.png").unlink()
    with pytest.raises(
        BenchError, match=r"test/dog has 1 images instead of 2\); .* give the command again, which begins anew"
    ):
        execute(run, home)


def test_a_named_set_is_checked(home: Home) -> None:
    paint(home.data / "cifar10", [f"class{digit}" for digit in range(10)], {"train": 4, "test": 1})
    run = a_run(home, "cifar10")
    assert (run.data, run.identity()["task"]) == ("", "cifar10")
    interrupted(run, home)
    done = execute(a_run(home, "cifar10", "seed=1"), home)
    digest = str(done.provenance.data["digest"])
    Image.new("RGB", (32, 32)).save(home.data / "cifar10/train/class3/0.png")
    with pytest.raises(
        BenchError, match=r"images that it began with, but those of cifar10 changed .*restore them, or delete"
    ):
        execute(run, home)
    with pytest.raises(BenchError, match=rf"run {done.id} was computed with other images of cifar10"):
        execute(a_run(home, "cifar10", f"start=run:{done.id}"), home)
    again = a_run(home, "cifar10", "seed=1")
    other = "0" * 64
    with pytest.raises(BenchError, match=rf"run {done.id} was computed with other images of cifar10 .*BENCH_HOME"):
        Pool(home, digest=other).run([("it", again)])
    assert Pool(home, digest=digest).run([("it", again)])["it"].cached
    require_same_data(done, again, "")  # not known: not compared


def test_a_checkpoint_of_an_earlier_version_goes_on(home: Home, tmp_path: Path) -> None:
    run = a_run(home, f"folder:{animals(tmp_path / 'set')}")
    interrupted(run, home)
    file = home.records.run(run.id) / "run.json"
    write_json(file, {key: value for key, value in read_json(file).items() if key != "data"})
    assert execute(run, home).finished
