import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import environment
from bench.errors import BenchError
from bench.records.home import Home
from bench.scheduler import failures, trial_process

CPU = torch.device("cpu")


def test_versions():
    found = environment.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(found) <= {"python", *environment.PACKAGES}


def test_hardware():
    found = environment.hardware(CPU)
    assert set(found) == {"cpu", "cores", "memory"}
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory"] > 2**28
    json.dumps(found)


@pytest.mark.gpu
def test_hardware_with_a_gpu():
    found = environment.hardware(torch.device("cuda", 0))
    assert found["gpu"]
    assert found["gpu_memory"] > 2**30
    json.dumps(found)


def git(root, *arguments):
    name = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", root, *name, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_code_version_of_a_checkout(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-qm", "one")
    found = environment.code_version(tmp_path)
    assert found["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert found["dirty"] is False
    (tmp_path / "a.py").write_text("2\n")
    assert environment.code_version(tmp_path)["dirty"] is True


def test_code_version_of_a_folder_in_a_checkout(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "beside.py").write_text("2\n")
    assert environment.code_version(tmp_path / "package")["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert environment.code_version(tmp_path / "package")["dirty"] is True


def test_code_version_of_an_empty_checkout(tmp_path):
    git(tmp_path, "init", "-q")
    assert environment.code_version(tmp_path)["commit"] is None


def test_a_checkout_around_an_installed_package_is_not_taken_for_ours(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "site-packages").mkdir()
    assert environment.code_version(tmp_path / "site-packages")["dirty"] is None


def test_code_version_never_fails(tmp_path, monkeypatch):
    assert environment.code_version(tmp_path / "nowhere")["version"]
    monkeypatch.setenv("PATH", "")
    assert environment.code_version(tmp_path)["dirty"] is None


def test_peak_memory():
    assert 2**20 < environment.peak_memory(CPU) < 2**45


def test_devices_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.resolve_device("auto") == environment.resolve_device("cpu") == CPU
    with pytest.raises(BenchError, match="got 'cuda' and no CUDA device is available; use device=auto"):
        environment.resolve_device("cuda")


def test_devices_with_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert environment.resolve_device("auto") == environment.resolve_device("cuda") == torch.device("cuda", 0)
    assert environment.resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(BenchError, match="got 'cuda:2' and 2 CUDA devices are available"):
        environment.resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "", "mps"])
def test_devices_that_are_none(name):
    with pytest.raises(BenchError, match="must be auto, cpu, cuda or cuda:N"):
        environment.resolve_device(name)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://ada:s3cret@db:5432/optuna", "postgresql://ada:***@db:5432/optuna"),
        ("postgresql+psycopg2://ada:p@ss/w:rd@db/optuna", "postgresql+psycopg2://ada:***@db/optuna"),
        ("--storage='mysql://ada:x@db/o' --jobs 2", "--storage='mysql://ada:***@db/o' --jobs 2"),
        ("redis://:pw@host:6379/0", "redis://:***@host:6379/0"),
        ("postgresql://db/o?user=ada&password=s3cret&sslmode=on", "postgresql://db/o?user=ada&password=***&sslmode=on"),
        ("MLFLOW_TRACKING_TOKEN=abc bench run", "MLFLOW_TRACKING_TOKEN=*** bench run"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("postgresql://ada@db/optuna", "postgresql://ada@db/optuna"),
        ("sqlite:///results/mlflow.db", "sqlite:///results/mlflow.db"),
        ("lr=0.1 seed=3 mail a@b.org", "lr=0.1 seed=3 mail a@b.org"),
    ],
)
def test_secrets(text, masked):
    assert environment.mask_secrets(text) == masked


def test_a_name_with_an_at_sign_hides_no_password() -> None:
    assert environment.mask_secrets("http://ada@lab.org:s3cret@host/x") == "http://ada@lab.org:***@host/x"


def test_what_the_environment_holds_is_masked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_OPTUNA", "postgresql://ada:pa%40ss%2Fw@db/optuna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "o&ther")
    told = environment.mask_secrets("bad password 'pa@ss/w' (pa%40ss%2Fw), o&ther and o%26ther")
    assert told == "bad password '***' (***), *** and ***"


words = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'"), min_size=1)


@given(password=words, before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_password_survives(password, before, after):
    text = f"{before} db://ada:QQ{password}QQ@host/name {after}"
    masked = environment.mask_secrets(text)
    assert f"QQ{password}QQ" not in masked
    assert environment.mask_secrets(masked) == masked


def test_command(monkeypatch):
    home = Path.home()
    monkeypatch.setattr("sys.argv", ["/usr/bin/bench", "run", "a b", f"{home}/w", f"{home}-2", "--storage=db://u:pw@h"])
    assert environment.command() == f"bench run 'a b' ~/w {home}-2 --storage=db://u:***@h"


def test_a_trace_that_a_run_leaves_behind_holds_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:s3cr3t@host")
    try:
        raise ValueError("http://ada:s3cr3t@host/api failed, s3cr3t")
    except ValueError as error:
        kind, line = trial_process.explain(error, Home(tmp_path, tmp_path), {})
    (trace,) = (tmp_path / "errors").iterdir()
    assert "ValueError: http://ada:***@host/api failed, ***" in trace.read_text()
    assert "s3cr3t" not in trace.read_text()
    assert kind == failures.CRASHED
    assert "ValueError" in line
