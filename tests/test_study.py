"""The study's text says what its records hold."""

import re
import sys
from runpy import run_path
from shutil import rmtree

import pytest
import torch
from safetensors.torch import load_file

from agwm.paths import root
from agwm.report.style import to_svg

STUDY = root() / "docs" / "study"
TINY = ["task=acceptability", "model=tiny", "logger=none", "n_train=40"]


@pytest.fixture
def text():
    return (STUDY / "README.md").read_text(encoding="utf-8")


def test_the_tables_in_the_text_are_those_of_the_records(text):
    tables = run_path(str(STUDY / "tables.py"))["all_tables"]()
    assert len(tables) == 9 and [table for table in tables if table not in text] == []


def test_the_picture_is_that_of_the_records(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY))
    script = run_path(str(STUDY / "plot.py"))
    sys.modules.pop("tables")
    drawn = to_svg(script["draw"](script["Study"](script["read"]("records"))))
    kept = (STUDY / "differences.svg").read_text(encoding="utf-8")
    words = re.compile(r">([^<>]+)</text>")
    places = re.compile(r"""(?<=[ "])-?\d+\.\d+(?=[ "])""")
    assert words.findall(kept) == words.findall(drawn)
    pairs = zip(places.findall(kept), places.findall(drawn), strict=True)
    assert [pair for pair in pairs if abs(float(pair[0]) - float(pair[1])) > 0.1] == []


@pytest.mark.parametrize(
    ("folder", "told"),
    [("records", "# {} runs that need not be run"), ("options/records", "{} of the 96 runs")],
)
def test_the_text_counts_the_records(text, folder, told):
    assert told.format(len(list((STUDY / folder).rglob("record.json")))) in text


def test_alpha_is_given_as_it_is_or_with_its_entries_in_other_places(
    tiny_run, tmp_path, monkeypatch
):
    _, folder = tiny_run("method=random_alpha", "method.alpha_init_std=0.3", "seed=1")
    learned = load_file(folder / "alpha.safetensors")
    monkeypatch.chdir(tmp_path)
    main = run_path(str(STUDY / "given_alpha.py"))["main"]
    for name in ("alpha of another seed", "alpha exchanged"):
        main(name, str(folder / "alpha.safetensors"), TINY)
        run = tmp_path / "runs" / "given" / "acceptability" / name.replace(" ", "_") / "seed0"
        fixed = load_file(run / "alpha.safetensors")
        assert fixed.keys() == learned.keys()
        for key, entries in learned.items():
            found = fixed[key]
            assert found.shape == entries.shape
            assert torch.equal(found.flatten().sort()[0], entries.flatten().sort()[0])
            assert torch.equal(found, entries) == (name != "alpha exchanged")


def test_alpha_as_a_start_or_as_rates_is_one_half_of_the_mixture(tiny_run, tmp_path, monkeypatch):
    _, folder = tiny_run("method=random_alpha", "method.alpha_init_std=0.3", "seed=1")
    monkeypatch.chdir(tmp_path)
    main = run_path(str(STUDY / "given_alpha.py"))["main"]

    def weights(name, lr):
        main(name, str(folder / "alpha.safetensors"), [*TINY, f"optim.lr={lr}"])
        runs = tmp_path / "runs" / "given" / "acceptability" / name.replace(" ", "_")
        state = load_file(runs / "seed0" / "model" / "model.safetensors")
        rmtree(runs)
        return torch.cat([w.flatten() for k, w in state.items() if ".layer." in k and w.dim() == 2])

    pretrained = weights("alpha as rates", 1e-12)
    mixed = weights("alpha", 1e-12)
    assert (pretrained - mixed).norm() > 0.2 * pretrained.norm()
    assert torch.allclose(weights("alpha as a start", 1e-12), mixed, atol=1e-6)
    # The same step of W counts for less where alpha is below 1; as a start it counts in full.
    steps = [
        (weights(name, 1e-4) - start).norm().item()
        for name, start in (("alpha as a start", mixed), ("alpha as rates", pretrained))
    ]
    assert steps[1] < 0.9 * steps[0]


def test_alpha_of_joint_is_what_refit_does(tiny_run, tmp_path, monkeypatch):
    once, twice = (
        tiny_run("method=joint", "method.alpha_lr=0.1", f"method.refit={refit}")[1]
        for refit in ("null", "true")
    )
    monkeypatch.chdir(tmp_path)
    main = run_path(str(STUDY / "given_alpha.py"))["main"]
    main("given", str(once / "alpha.safetensors"), TINY)
    given = tmp_path / "runs" / "given" / "acceptability" / "given" / "seed0"
    one, other = (
        (folder / "model" / "model.safetensors").read_bytes() for folder in (given, twice)
    )
    assert one == other
