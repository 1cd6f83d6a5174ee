import re

import numpy as np
import pytest
from families import FAMILIES
from safetensors.numpy import save_file
from torch.nn import Linear
from transformers import AutoConfig, AutoModelForSequenceClassification

from agwm.report.alpha import mean_alpha, place, read_alpha
from agwm.report.alpha_map import alpha_map
from agwm.report.cells import make_blocks, make_cells
from agwm.report.plots import alpha_plots, cost_plots, curve_plots, runs_plot
from agwm.report.records import read_records
from agwm.report.style import looks


@pytest.fixture
def blocks(tmp_path):
    return lambda: make_blocks(make_cells(read_records([tmp_path / "runs"])), "vanilla")


def dots(ax, marker):
    """(x, y) of everything that is drawn with `marker`."""
    drawn = [line for line in ax.lines if line.get_marker() == marker]
    return np.concatenate([np.array(line.get_xydata()) for line in drawn])


def test_every_run_is_a_dot_and_a_degenerate_one_a_cross(write_run, blocks):
    for seed, value in enumerate((1.0, 5.0, 3.0)):
        write_run(value, seed=seed, degenerate=seed == 0)
        write_run(value + 10, seed=seed, method="agwm")
    (block,) = blocks()
    (ax,) = runs_plot(block).figure.axes
    assert sorted(dots(ax, "o")[:, 0]) == [3, 5, 11, 13, 15]
    assert dots(ax, "x")[:, 0] == [1]
    # The baseline is the upper row.
    assert [label.get_text() for label in ax.get_yticklabels()] == ["agwm", "vanilla"]
    assert round(dots(ax, "x")[0, 1]) == 1


def test_a_curve_needs_two_numbers_of_examples(write_run, blocks):
    for n_train in (None, 100):
        for seed, value in enumerate((40.0, 44.0)):
            write_run(value, n_train=n_train, seed=seed)
    assert list(curve_plots(blocks())) == []
    for seed, value in enumerate((50.0, 70.0)):
        write_run(value, n_train=400, seed=seed)
    (plot,) = curve_plots(blocks())
    (ax,) = plot.figure.axes
    assert dots(ax, "o").tolist() == [[100, 42], [400, 60]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "400"]
    (bars,) = ax.collections
    assert [[low, high] for (_, low), (_, high) in bars.get_segments()] == [[40, 44], [50, 70]]


def test_the_curve_of_several_tasks_has_their_average(write_run, blocks):
    for n_train in (100, 400):
        write_run(40.0, n_train=n_train, task="cola")
        write_run(80.0, n_train=n_train, task="rte")
    (plot,) = curve_plots(blocks())
    *_, average = plot.figure.axes
    assert average.get_title(loc="left") == "average"
    assert dots(average, "o")[:, 1].tolist() == [60, 60]


def test_a_curve_averages_and_shows_the_same_tasks_everywhere(write_run, blocks):
    for n_train, task in ((100, "cola"), (100, "rte"), (400, "cola")):
        write_run(40.0, n_train=n_train, task=task)
    found = blocks()
    (plot,) = curve_plots(found)
    assert dots(plot.figure.axes[2], "o").tolist() == [[100, 40]]
    assert len(runs_plot(found[1]).figure.axes) == 1  # cola alone has runs there
    write_run(40.0, task="mrpc", n_train=None)
    (plot,) = curve_plots(blocks())
    assert [ax.get_title(loc="left") for ax in plot.figure.axes] == ["cola", "rte"]


def test_cost_is_a_ratio_to_the_baseline(write_run, blocks):
    write_run(40.0, cost={"train_seconds": 2.0})
    write_run(50.0, cost={"train_seconds": 6.0}, method="agwm")
    (plot,) = cost_plots(blocks(), "vanilla")
    (ax,) = plot.figure.axes
    assert dots(ax, "o").tolist() == [[1, 40]] and dots(ax, "s").tolist() == [[3, 50]]
    assert list(cost_plots(blocks(), "mixout")) == []


@pytest.mark.parametrize("rank", [1, 3])
def test_alpha_is_the_mean_over_the_matrix(tmp_path, rank):
    rng = np.random.default_rng(0)
    a1, a2 = rng.random((5, rank), np.float32), rng.random((rank, 4), np.float32)
    full = rng.random((5, 4), np.float32)
    query, pooler = "bert.encoder.layer.11.attention.self.query", "bert.pooler.dense"
    tensors = {f"{query}.a1": a1, f"{query}.a2": a2, f"{pooler}.alpha": full}
    save_file(tensors, tmp_path / "alpha.safetensors")
    found = read_alpha(tmp_path)
    assert found == {
        ("layer 11", "attention.self.query"): pytest.approx((a1 @ a2 / rank).mean(), rel=1e-6),
        ("pooler", "dense"): pytest.approx(full.mean(), rel=1e-6),
    }


def test_no_alpha_or_a_broken_one_is_none(tmp_path):
    assert read_alpha(tmp_path) is None
    (tmp_path / "alpha.safetensors").write_bytes(b"half")
    assert read_alpha(tmp_path) is None


@pytest.mark.parametrize(
    "factors",
    [
        {"a1": np.ones((5, 2)), "a2": np.ones((3, 4))},
        {"a1": np.ones((5, 0)), "a2": np.ones((0, 4))},
        {"a1": np.ones(5), "a2": np.ones(5)},
        {"a1": np.ones((5, 2))},
        {"alpha": np.full((2, 2), np.nan)},
    ],
)
def test_factors_that_make_no_matrix_are_none(tmp_path, factors):
    tensors = {f"bert.pooler.dense.{name}": factor for name, factor in factors.items()}
    save_file(tensors, tmp_path / "alpha.safetensors")
    assert read_alpha(tmp_path) is None


def test_runs_that_mix_no_layer_in_common_have_no_map(write_run, blocks):
    for seed in (0, 1):
        tensors = {f"bert.encoder.layer.{seed}.fc.alpha": np.ones((2, 2), np.float32)}
        save_file(tensors, write_run(seed=seed, method="agwm") / "alpha.safetensors")
    assert list(alpha_plots(blocks()[0])) == []


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("roberta.encoder.layer.3.output.dense", ("layer 3", "output.dense")),
        ("model.decoder.layers.7.encoder_attn.q_proj", ("decoder layer 7", "encoder_attn.q_proj")),
        ("model.encoder.layers.7.fc1", ("layer 7", "fc1")),
        ("transformer.layer.0.ff.layer_1", ("layer 0", "ff.layer_1")),
        ("transformer.layer.11.rel_attn.q", ("layer 11", "rel_attn.q")),
        ("deberta.pooler.dense", ("pooler", "dense")),
        ("model.layers.21.attn.Wqkv", ("layer 21", "attn.Wqkv")),
        ("head.dense", ("head", "dense")),
        ("distilbert.transformer.layer.5.ffn.lin1", ("layer 5", "ffn.lin1")),
        ("pre_classifier", ("pre_classifier", "pre_classifier")),
        ("electra.embeddings_project", ("electra", "embeddings_project")),
        ("albert.encoder.embedding_hidden_mapping_in", ("encoder", "embedding_hidden_mapping_in")),
        ("albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query",
         ("group 0 layer 0", "attention.query")),
        ("albert.encoder.albert_layer_groups.3.albert_layers.1.ffn_output",
         ("group 3 layer 1", "ffn_output")),
    ],
)  # fmt: skip
def test_a_layers_name_has_a_row_and_a_column(layer, expected):
    assert place(layer) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_each_linear_layer_of_a_family_has_a_place_of_its_own(family):
    config = AutoConfig.for_model(**FAMILIES[family])
    model = AutoModelForSequenceClassification.from_config(config)
    names = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    places = {place(name) for name in names}
    assert len(places) == len(names)
    numbered = {row for row, _ in places if re.fullmatch(r"((decoder|group 0) )?layer \d", row)}
    depth = {"albert": 1, "bart": 4}.get(family, 2)
    assert len(numbered) == depth
    assert all(row and column for row, column in places)


def test_alpha_is_averaged_over_runs_of_a_cell(write_run, blocks):
    for seed, value in enumerate((0.5, 0.9)):
        folder = write_run(seed=seed, method="agwm")
        tensors = {
            f"bert.encoder.layer.{index}.fc.alpha": np.full((2, 2), value - 0.1 * index, "float32")
            for index in (10, 2)
        }
        save_file(tensors, folder / "alpha.safetensors")
    write_run()
    (block,) = blocks()
    (plot,) = alpha_plots(block)
    ax = plot.figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["layer 2", "layer 10"]
    assert ax.images[0].get_array().tolist() == [
        [pytest.approx(0.5)],
        [pytest.approx(-0.3)],
    ]


def test_only_layers_that_all_runs_mix_are_averaged():
    a, b = ("layer 0", "q"), ("layer 0", "k")
    assert mean_alpha([{a: 0.2, b: 1.0}, {a: 0.4}]) == {a: pytest.approx(0.3)}


def test_seventy_methods_look_different():
    found = looks(f"method{i}" for i in range(70)).values()
    assert len({(look["color"], look["marker"]) for look in found}) == 70


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.5, 1.0)])
def test_panels_of_an_alpha_map_have_one_scale(values):
    maps = {name: {("layer 0", "fc"): value} for name, value in zip("ab", values, strict=True)}
    figure = alpha_map(maps)
    figure.canvas.draw()
    colours = [tuple(ax.images[0].to_rgba(1.0)) for ax in figure.axes[:2]]
    assert colours[0] == colours[1]
