"""The public names against the command line, autograd and transformers."""

import csv
import subprocess
import sys
import weakref
from itertools import count

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import agwm
from agwm import finetune, fix_alpha, mean_state, merge, mixed, search
from agwm.data.datamodule import GlueDataModule
from agwm.errors import RunError, UserError
from agwm.models.mixed import alpha_parameters, alpha_tensors
from agwm.models.pretrained import load_pretrained
from agwm.seeding import derive

HEAVY = ("torch", "transformers", "numpy", "hydra", "lightning")


def test_importing_the_package_imports_nothing():
    code = f"import agwm, sys; print(dir(agwm), [m for m in {HEAVY} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.strip().endswith("[]") and "'search'" in printed


def test_every_public_name_is_found_and_no_other():
    assert {name for name in agwm.__all__ if getattr(agwm, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = agwm.nosuch


class Epochs:
    """A loader of the command line's, gone through as Lightning does, epoch by epoch."""

    def __init__(self, loader):
        self.loader, self.epochs = loader, count()

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        self.loader.sampler.set_epoch(next(self.epochs))
        return iter(self.loader)


@pytest.mark.parametrize("switches", [
    {}, {"preset": "released", "alpha_every": 2, "average": "alpha"},
    {"hypergradient": "one_sided", "rank": 2, "mix_form": "convex", "fd_radius": 5e-4},
])  # fmt: skip
def test_the_whole_method_is_that_of_the_command_line_bit_for_bit(tiny_run, compose, switches):
    overrides = ["method=agwm", "method.num_searches=2", "method.search_epochs=2", "seed=3",
                 *(f"method.{key}={value}" for key, value in switches.items())]  # fmt: skip
    _, folder = tiny_run(*overrides)
    config = compose("task=acceptability", "model=tiny", "n_train=40", *overrides)
    data = GlueDataModule(config.task, config.optim, 3, 40, None)
    loaded = load_pretrained(config.model, config.task, derive(3, "head"))
    data.tokenize_with(loaded.tokenizer)
    names = ("lr", "weight_decay", "warmup_ratio")
    recipe = {name: getattr(config.optim, name) for name in names} | {"seed": 3}
    mixture = {key: switches[key] for key in ("rank", "mix_form") if key in switches}
    others = {k: v for k, v in switches.items() if k not in {*mixture, "average"}}
    logged = []

    def searched(k):
        inner, outer = data.split(k, 0.8)
        return search(
            mixed(loaded.model, seed=3, k=k, **mixture),
            Epochs(data.train_dataloader(inner, "inner", k)),
            Epochs(data.train_dataloader(outer, "outer", k)),
            **recipe, epochs=2, k=k, log=logged.append, **others,
        )  # fmt: skip

    model = mixed(loaded.model, seed=3, **mixture)
    mean = mean_state((searched(k) for k in range(2)), switches.get("average") == "alpha")
    model.load_state_dict(mean, strict="average" not in switches)
    finetune(
        fix_alpha(model), Epochs(data.train_dataloader()), epochs=config.optim.epochs, **recipe
    )
    found = {"alpha": alpha_tensors(model), "model/model": merge(model).state_dict()}
    for kind, tensors in found.items():
        saved = load_file(folder / f"{kind}.safetensors")
        assert saved and [n for n in saved if not torch.equal(saved[n], tensors[n])] == [], kind
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "search"]
    for row, own in zip(rows, logged, strict=True):
        for name in own:
            assert float(row[name]) == pytest.approx(float(own[name]), rel=1e-5), name


def test_the_defaults_are_those_of_the_command_line(compose):
    method = compose("method=agwm").method
    own = {**mixed.__kwdefaults__, **search.__kwdefaults__}
    shared = {name: value for name, value in own.items() if name in method}
    assert {name: method[name] for name in shared} == shared
    assert len(shared) == 11 and own["epochs"] == method["search_epochs"]
    recipe = vars(compose("task=cola", "model=bert_base").optim)
    for name, value in finetune.__kwdefaults__.items():
        assert name in ("seed", "log") or recipe[name] == value, name
    assert all(recipe[name] == own[name] for name in ("weight_decay", "warmup_ratio"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        vocab_size=60,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def batches():
    ids = torch.randint(60, (4, 8, 5), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": rows, "labels": torch.arange(8) % 2} for rows in ids]


def test_what_is_given_stays_and_what_comes_is_in_its_mode(model, batches):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for training in (False, True):
        own = mixed(model.train(training))
        search(own, batches, batches[:2], lr=1e-2, epochs=1)
        finetune(fix_alpha(own), batches, lr=1e-2, epochs=1)
        assert all(part.training == training for part in own.modules())
        assert all(parameter.grad is None for parameter in own.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not torch.equal(before["classifier.weight"], own.classifier.weight)


@pytest.mark.filterwarnings("error")
def test_the_search_takes_each_outer_batch_in_turn_and_holds_it(model, batches):
    losses = []
    own = mixed(model.train(), alpha_init_std=0.0)
    nn.Module.apply(own, lambda part: setattr(part, "p", 0.0) if hasattr(part, "p") else None)
    search(own, batches, batches[2:], lr=0.0, alpha_lr=0.0, alpha_every=2, epochs=2,
           log=losses.append)  # fmt: skip
    with torch.no_grad():
        expected = [own(**batch).loss.item() for batch in batches]
    inner = [float(seen["inner_loss"]) for seen in losses]
    outer = [float(seen["outer_loss"]) for seen in losses if "outer_loss" in seen]
    assert inner == pytest.approx(expected * 2, rel=1e-6)
    assert outer == pytest.approx(expected[2:] * 2, rel=1e-6)


def test_each_search_and_seed_has_its_own_masks(model, batches):
    ends = [
        search(mixed(model), batches, batches, lr=1e-2, epochs=1, k=k, seed=seed).classifier.weight
        for seed, k in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert [torch.equal(ends[-1], end) for end in ends] == [True, False, False, True]


def test_float64_is_kept(model, batches):
    own = search(mixed(model.double()), batches, batches, lr=1e-3, epochs=1)
    assert {parameter.dtype for parameter in own.parameters()} == {torch.float64}


def test_a_mean_holds_one_model_at_a_time(model):
    earlier = []

    def searched():
        for k in range(3):
            assert all(seen() is None for seen in earlier)
            own = mixed(model, k=k)
            earlier.append(weakref.ref(own))
            yield own
            del own

    mean = mean_state(searched(), alpha_only=True)
    every = [alpha_parameters(mixed(model, k=k)) for k in range(3)]
    for name, tensor in mean.items():
        expected = torch.stack([alpha[name].detach() for alpha in every]).mean(0)
        torch.testing.assert_close(tensor, expected)
    assert mean.keys() == every[0].keys()


def test_the_hypergradient_of_a_toy_is_that_of_autograd():
    """Outer loss after one SGD step of W, differentiated through it, in float64."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    pretrained, x, y, eta = draw(3, 4), draw(6, 4), draw(6, 3), 0.1
    weights = [draw(3, 4).requires_grad_()]
    alpha = [draw(3, 1).requires_grad_(), draw(1, 4).requires_grad_()]

    def loss(rows):
        def of(weights, alpha):
            out = x[rows] @ agwm.mixing.mix(weights[0], pretrained, tuple(alpha)).T
            return ((out.tanh() - y[rows]) ** 2).mean()

        return of

    inner, outer = loss(slice(0, 3)), loss(slice(3, 6))
    (slope,) = torch.autograd.grad(inner(weights, alpha), weights, create_graph=True)
    ahead = [weights[0] - eta * slope]
    expected = torch.autograd.grad(outer(ahead, alpha), alpha)
    ahead = [ahead[0].detach().requires_grad_()]
    found = agwm.hypergradient.gradients(outer(ahead, alpha), [*alpha, *ahead])
    direct, v = found[:2], found[2:]
    eps = 1e-3 / agwm.hypergradient.norm(v).item()
    products = {
        "exact": (agwm.hypergradient.exact(inner, weights, alpha, v), 1e-12),
        "central": (agwm.hypergradient.finite_difference(inner, weights, alpha, v, eps), 1e-6),
        "one-sided": (agwm.hypergradient.one_sided(inner, weights, alpha, v, eps), 1e-2),
    }
    for name, (product, tolerance) in products.items():
        for d, p, e in zip(direct, product, expected, strict=True):
            assert (d - eta * p - e).norm() < tolerance * (d - e).norm(), name


def test_mistakes_name_the_value_and_the_way_out(model, batches):
    own = mixed(model)
    endings = [
        (lambda: mixed(model, rank=0), "method.rank=0: must be a whole number"),
        (lambda: mixed(model, fresh="clasifier"), "fresh=clasifier: .*bert, dropout, classifier"),
        (lambda: mixed(model, fresh=["bert", "classifier"]), "Classification: must be one with"),
        (lambda: mixed(model.bfloat16()), r"=torch.bfloat16: must be float32"),
        (lambda: search(own, batches, batches, lr=1e-3, preset="papr"), "preset=papr: must be one"),
        (lambda: search(own, batches, batches, lr=1e-3, order="x"), "method.order=x: must be one"),
        (lambda: search(own, [], batches, lr=1e-3), "inner=0 batches: must be one or more"),
        (lambda: search(own, batches, iter(batches), lr=1e-3), "outer=no batch: must be a loader"),
        (lambda: search(model, batches, batches, lr=1e-3), r"missing or fixed: do search\(mixed"),
        (lambda: search(fix_alpha(mixed(model.float())), batches, batches, lr=1e-3), "or fixed"),
        (lambda: finetune(own, batches, lr=1e-3), r"alpha=trainable: do finetune\(fix_alpha"),
        (lambda: finetune(model, [], lr=1e-3), "loader=0 batches: must be one or more"),
    ]  # fmt: skip
    for mistake, message in endings:
        with pytest.raises(UserError, match=message):
            mistake()


def test_a_loss_that_is_not_finite_stops_both(model, batches):
    with torch.no_grad():
        model.classifier.weight.fill_(torch.inf)
    with pytest.raises(RunError, match="search 2, step 0: the inner loss is nan"):
        search(mixed(model), batches, batches, lr=1e-3, k=1)
    with pytest.raises(RunError, match="finetune, step 0: the loss is nan"):
        finetune(model, batches, lr=1e-3)
