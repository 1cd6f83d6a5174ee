import json
from pathlib import Path
from shutil import copytree

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from safetensors.torch import load_file, save_file

from agwm import rerun
from agwm.config import RunConfig
from agwm.method import build_method
from agwm.rerun import saved_config

# Names that YAML, OmegaConf or Hydra would take for something else.
NAMES = ["${seed}", "yes", "1"]


@pytest.fixture
def texts(tmp_path):
    """A file of labelled texts."""
    words = "the of and a to in is was it for on are".split()
    rows = [f"{words[i % 12]} {words[i % 7]} {words[i % 5]},{NAMES[i % 3]}" for i in range(60)]
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture
def own(tiny_run, texts):
    """Run directory of agwm, a preset of it, on the file."""
    _, folder = tiny_run(
        "task=file", f"task.train={texts}", "n_train=null", "method=agwm", "method.num_searches=1",
        "method.search_epochs=1", "method.preset=first_order", "optim.lr=0.01",
    )  # fmt: skip
    return folder


@pytest.fixture
def vanilla(tiny_run):
    """Run directory of vanilla on the generated task."""
    return tiny_run("method=vanilla")[1]


@pytest.fixture
def command(monkeypatch, capsys):
    """`command(*argv)`: exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "120")

    def called(*argv):
        capsys.readouterr()
        # As a new process has them; nobody has composed anything in it.
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        return rerun.main([str(argument) for argument in argv]), *capsys.readouterr()

    return called


def everything(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def change(folder, **fields):
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_run_comes_out_again_and_is_left_as_it_is(command, own):
    before = everything(own)
    code, out, err = command(own)
    assert code == 0, err
    assert out.count(" equal ") == 3 and "DIFFERENT" not in out
    assert "tensors, bit for bit" in out and "12 rows, to the last digit" in out
    assert everything(own) == before


def test_the_configuration_is_read_as_it_was(own, compose):
    config = saved_config(own)
    assert isinstance(config, RunConfig) and sorted(config.task.labels) == sorted(NAMES)
    assert config.optim.lr == 0.01 and config.method["preset"] == "first_order"


def test_a_configuration_of_before_num_finetunes_is_read(own):
    path = own / "config.yaml"
    lines = path.read_text().splitlines()
    older = [line for line in lines if "num_finetunes" not in line]
    assert len(older) == len(lines) - 1
    path.write_text("\n".join(older))
    assert build_method(saved_config(own).method).num_finetunes is None


def test_what_is_kept_is_a_run_of_the_same_cell(command, own, tmp_path):
    code, out, _ = command(own, "--keep", tmp_path / "again")
    assert code == 0 and f"kept: {tmp_path / 'again'}" in out
    records = [json.loads((f / "record.json").read_text()) for f in (own, tmp_path / "again")]
    for name in ("config_hash", "cell_hash", "variant", "data_hash", "start_hash", "weights_hash"):
        assert records[0][name] == records[1][name] and records[0][name], name
    assert (tmp_path / "again/model/model.safetensors").is_file()
    code, _, err = command(own, "--keep", tmp_path / "again")
    assert code == 2 and f"--keep={tmp_path / 'again'}: " in err
    code, _, err = command(own, "--keep", own / "again")
    assert code == 2 and not (own / "again").exists()


def test_other_weights_are_measured(command, vanilla):
    path = vanilla / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["classifier.bias"] += 0.5
    save_file(tensors, path, {"format": "pt"})
    code, out, err = command(vanilla)
    assert code == 1
    assert "tensors differ, the most by 0.5 in classifier.bias" in " ".join(out.split())
    told = f"error: {vanilla}: came out otherwise this time: weights"
    assert err.splitlines()[-1] == told and "Traceback" not in err
    assert "versions, code, machine and examples are those of the first run" in out


def test_other_code_is_found_out(command, vanilla, monkeypatch):
    from agwm.methods.vanilla import Vanilla

    monkeypatch.setattr(Vanilla, "loss", lambda self, model, batch, step: 0.5 * model(**batch).loss)
    change(vanilla, git={"commit": "c" * 40, "dirty": False}, versions={"torch": "0.1"})
    code, out, err = command(vanilla)
    assert code == 1 and "this time: weights, predictions" in err
    assert "not as it was" in out and "c" * 40 in out and " 0.1 " in out


def test_without_kept_weights_their_hash_is_compared(command, tiny_run):
    _, folder = tiny_run("method=vanilla", "save_model=false")
    code, out, _ = command(folder)
    known = json.loads((folder / "record.json").read_text())["weights_hash"]
    assert code == 0 and f"hash {known}" in out
    change(folder, weights_hash="0" * 12)
    code, _, err = command(folder)
    assert code == 1 and "this time: weights" in err


def test_a_record_of_before_the_hashes_is_compared_by_what_it_has(command, vanilla):
    change(vanilla, machine=None, data_hash=None, start_hash=None, weights_hash=None)
    code, out, _ = command(vanilla)
    assert code == 0 and "tensors, bit for bit" in out


def test_the_threads_are_those_of_the_record(command, vanilla, monkeypatch):
    import agwm.run

    seen, run = [], agwm.run.run
    monkeypatch.setattr(
        agwm.run, "run", lambda config, *rest: seen.append(config.trainer) or run(config, *rest)
    )
    machine = json.loads((vanilla / "record.json").read_text())["machine"]
    change(vanilla, machine=machine | {"threads": machine["threads"] + 1})
    command(vanilla)
    assert seen[0].threads == machine["threads"] + 1


def test_data_that_is_gone_or_changed_is_refused_before_anything_is_trained(
    command, own, texts, monkeypatch
):
    monkeypatch.setattr("agwm.run.run", None)
    text = texts.read_text()
    # The same rows, in another order.
    head, *rows = text.splitlines()
    for changed in (text.replace("the", "a", 1), "\n".join([head, *reversed(rows)]), text + "a,1"):
        texts.write_text(changed)
        code, _, err = command(own)
        assert code == 2 and "its data has changed" in err and err.count("\n") == 1
    texts.unlink()
    code, _, err = command(own)
    assert code == 2 and str(texts) in err and err.count("\n") == 1


def test_texts_of_the_evaluation_count_as_data(command, tiny_run, tmp_path):
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    rows = [json.dumps({"sentence": f"it was {i}", "label": i % 2, "idx": i}) for i in range(30)]
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    _, run = tiny_run("task=sst2", f"data_dir={folder.parent}", "n_train=20", "method=vanilla")
    # Fewer; and the same in another order, whose ids are those of the file.
    for changed in (rows[:-1], rows[::-1]):
        (folder / "validation.jsonl").write_text("\n".join(changed))
        code, _, err = command(run)
        assert code == 2 and "data_hash was" in err


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda run: (run / "record.json").unlink(), "no record.json"),
        (lambda run: (run / "record.json").write_text("{"), "no record.json that can be read"),
        (lambda run: (run / "config.yaml").unlink(), "config.yaml: is no configuration"),
        (lambda run: (run / "config.yaml").write_text("seed: [1"), "config.yaml: is no config"),
        (lambda run: (run / "config.yaml").write_text("seed: 1"), "config.yaml: is no config"),
        (lambda run: change(run, status="failed", error="RunError: boom"), "has failed (RunError"),
        (lambda run: change(run, headline=None), "has no headline"),
        (
            lambda run: (run / "config.yaml").write_text(
                (run / "config.yaml").read_text().replace("agwm.methods.vanilla.Vanilla", "os.kill")
            ),
            "method._target_=os.kill",
        ),
    ],
    ids=["none", "half", "no config", "no yaml", "too little", "failed", "no headline", "stranger"],
)
def test_what_is_no_finished_run_is_refused(command, vanilla, tmp_path, broken, told):
    folder = Path(copytree(vanilla, tmp_path / "copy"))
    broken(folder)
    code, out, err = command(folder)
    assert code == 2 and told in err and err.count("\n") == 1 and out == ""


def test_a_folder_that_is_not_there_is_refused(command, tmp_path):
    code, _, err = command(tmp_path / "nosuch")
    assert code == 2 and f"RUN={tmp_path / 'nosuch'}: no record.json" in err


def test_a_mistake_in_the_options_is_told_in_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        rerun.main(["runs/seed0", "--nosuch"])
    told = "error: unrecognized arguments: --nosuch; --help lists what there is\n"
    assert (stop.value.code, capsys.readouterr().err) == (2, told)
