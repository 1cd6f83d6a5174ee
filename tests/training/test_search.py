from itertools import pairwise

import pytest
import torch
from draws import CountedDraws
from lightning.pytorch import Callback
from search_harness import OPTIM, fit, mixed_model, settings
from torch import nn

from agwm.bilevel import PRESETS
from agwm.config import Optim
from agwm.errors import RunError
from agwm.models.mixed import alpha_parameters, mixed_linears
from agwm.numerics import hypergradient as hg
from agwm.training import search_step
from agwm.training.search import BilevelSearchModule
from agwm.training.search_step import SearchStep


def searched(loaded, preset="paper", steps=3, callback=None, seed=0, k=0, **changes):
    pretrained, data = loaded
    module = BilevelSearchModule(
        mixed_model(pretrained), settings(preset, **changes), OPTIM, steps=5, seed=seed, k=k
    )
    return fit(module, data, callback, steps)


class Watch(Callback):
    """Weights, alpha and Adam's step counter after every iteration."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, *_):
        optimizer = trainer.optimizers[0]
        counters = {int(state["step"]) for state in optimizer.state.values()}
        self.seen.append({
            "weights": [w.detach().clone() for w in module.search.weights.values()],
            "alpha": torch.cat([a.detach().flatten() for a in module.search.alpha.values()]),
            "counters": counters, "logged": dict(trainer.logged_metrics),
        })  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "counters"),
    [("paper", [1, 2, 3]), ("rollback", [1, 2, 3]), ("released", [1, 3, 5]),
     ("first_order", [1, 2, 3]), ("adam_unrolled", [1, 2, 3])],
)  # fmt: skip
def test_adam_counts_the_steps_of_w(loaded, preset, counters):
    watch = Watch()
    searched(loaded, preset, callback=watch)
    assert [seen["counters"] for seen in watch.seen] == [{count} for count in counters]


def test_paper_leaves_w_at_its_adamw_step_bit_for_bit(loaded):
    """Two iterations move W as they would if alpha were only read: the passes for alpha do not."""
    with_alpha, without = Watch(), Watch()
    searched(loaded, "paper", callback=with_alpha, alpha_lr=0.0)
    searched(loaded, "paper", callback=without, alpha_lr=0.0, alpha_every=100)
    for one, other in zip(with_alpha.seen, without.seen, strict=True):
        pairs = zip(one["weights"], other["weights"], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_with_no_learning_rate_w_never_moves(loaded):
    pretrained, data = loaded
    start = mixed_model(pretrained)
    presets = [settings(p) for p in ("paper", "rollback", "first_order", "adam_unrolled")]
    for preset in (*presets, settings("rollback", fd_center="w")):
        optim = Optim(**{**vars(OPTIM), "lr": 0.0})
        module = BilevelSearchModule(mixed_model(pretrained), preset, optim, 5, 0, 0)
        fit(module, data, steps=2)
        alpha = alpha_parameters(start)
        for name, before in start.named_parameters():
            if name not in alpha:
                assert torch.equal(before, module.model.get_parameter(name)), (preset, name)


def test_released_leaves_w_displaced_by_the_radius(loaded):
    pretrained, data = loaded
    optim = Optim(**{**vars(OPTIM), "lr": 0.0})
    start = mixed_model(pretrained)
    module = BilevelSearchModule(mixed_model(pretrained), settings("released"), optim, 5, 0, 0)
    fit(module, data, steps=1)
    moved = [w.detach() - start.get_parameter(n).detach() for n, w in module.search.weights.items()]
    assert hg.norm(moved).item() == pytest.approx(0.0100, abs=2e-6)


def test_alpha_moves_inside_its_bounds_and_w0_does_not(loaded):
    for preset in PRESETS:
        watch = Watch()
        module = searched(loaded, preset, callback=watch, alpha_lr=0.5)
        start = mixed_model(loaded[0])
        before = torch.cat([a.detach().flatten() for a in alpha_parameters(start).values()])
        after = watch.seen[-1]["alpha"]
        assert (after - before).norm() > 0.1, preset
        assert after.min() >= 0 and after.max() <= 1, preset
        assert ((after == 0) | (after == 1)).any(), preset
        for name, layer in mixed_linears(module.model):
            assert torch.equal(layer.pretrained, start.get_submodule(name).pretrained)


def test_rollback_takes_w_back_but_not_alpha(loaded, monkeypatch):
    seen = {}
    original = SearchStep._step_alpha

    def step_alpha(search, *arguments):
        logged = original(search, *arguments)
        seen["after"] = [a.detach().clone() for a in search.alpha.values()]
        seen["ahead"] = [w.detach().clone() for w in search.weights.values()]
        return logged

    monkeypatch.setattr(SearchStep, "_step_alpha", step_alpha)
    module = searched(loaded, "rollback", steps=1)
    kept = zip(seen["after"], module.search.alpha.values(), strict=True)
    assert all(torch.equal(a, b) for a, b in kept)
    start = mixed_model(loaded[0])
    # One real step from the start, with the new alpha: neither the start nor the look-ahead.
    name, weight = next((n, w) for n, w in module.search.weights.items() if "query.weight" in n)
    assert not torch.equal(weight, start.get_parameter(name))
    assert not torch.equal(weight, seen["ahead"][list(module.search.weights).index(name)])


def test_alpha_every_steps_alpha_at_every_second_iteration_only(loaded):
    watch = Watch()
    searched(loaded, callback=watch, alpha_every=2, steps=4)
    moved = [not torch.equal(a["alpha"], b["alpha"]) for a, b in pairwise(watch.seen)]
    assert moved == [True, False, True]


def test_finite_difference_and_double_backward_lead_to_the_same_alpha(loaded):
    watched = {}
    for kind in ("exact", "finite_difference", "one_sided", "none"):
        watch = watched[kind] = Watch()
        searched(
            loaded, callback=watch, hypergradient=kind, fd_scale="one", fd_radius=1e-3, steps=1
        )
    logged = {kind: watch.seen[0]["logged"] for kind, watch in watched.items()}
    exact = logged["exact"]
    for kind in ("finite_difference", "one_sided"):
        for name in ("search/implicit_norm", "search/cosine"):
            assert logged[kind][name].item() == pytest.approx(exact[name].item(), rel=2e-2)
    assert exact["search/implicit_norm"] > 0
    assert logged["none"]["search/implicit_norm"] == 0
    assert torch.equal(logged["none"]["search/direct_norm"], exact["search/direct_norm"])


def mixed_product(loaded, displacement, shared_masks):
    """The difference quotient of a step with its displacement forced to `displacement`."""
    pretrained, data = loaded
    module = BilevelSearchModule(
        mixed_model(pretrained), settings(shared_masks=shared_masks), OPTIM, 5, 0, 0
    )
    module.model.train()
    batch = next(iter(data.train_dataloader()))
    weights = [w.detach() for w in module.search.weights.values()]
    v = [torch.full_like(w, displacement) for w in weights]
    loss = module.search.loss(batch, "inner", *(() if shared_masks else ("plus", "minus")))
    plus = hg.alpha_gradient(
        loss, hg.displaced(weights, v, 1.0), list(module.search.alpha.values())
    )
    minus = hg.alpha_gradient(
        loss, hg.displaced(weights, v, -1.0), list(module.search.alpha.values())
    )
    return hg.norm([p - m for p, m in zip(plus, minus, strict=True)])


def test_without_displacement_replayed_masks_cancel_exactly(loaded):
    assert mixed_product(loaded, 0.0, shared_masks=True) == 0
    assert mixed_product(loaded, 0.0, shared_masks=False) > 0
    assert mixed_product(loaded, 1e-3, shared_masks=True) > 0


def test_dropout_is_on_in_every_pass(loaded, monkeypatch):
    modes = []
    original = nn.Dropout.forward

    def forward(module, x):
        modes.append(module.training)
        return original(module, x)

    monkeypatch.setattr(nn.Dropout, "forward", forward)
    searched(loaded, steps=1)
    assert modes and all(modes)


@pytest.mark.parametrize(
    ("preset", "each", "every_second"),
    [("paper", 4, 2.5), ("released", 5, 3), ("rollback", 5, 3), ("first_order", 2, 1.5),
     ("adam_unrolled", 4, 2.5)],
)  # fmt: skip
def test_passes_are_those_of_the_plan(loaded, preset, each, every_second):
    for every, expected in ((1, each), (2, every_second)):
        module = searched(loaded, preset, steps=2, alpha_every=every)
        planned = settings(preset, alpha_every=every).passes
        assert module.backward_passes == 2 * expected == 2 * planned


def test_what_is_logged(loaded):
    watch = Watch()
    searched(loaded, callback=watch)
    assert set(watch.seen[0]["logged"]) == {
        f"search/{name}"
        for name in (
            *("inner_loss", "outer_loss", "lr", "alpha_lr", "direct_norm", "implicit_norm"),
            *("cosine", "zero_directions", "alpha_mean", "alpha_min", "alpha_max"),
            *("alpha_at_bounds", "k", "step"),
        )
    }
    alpha, logged = watch.seen[1]["alpha"], watch.seen[1]["logged"]
    assert logged["search/alpha_mean"].item() == pytest.approx(alpha.mean().item())
    share = ((alpha == 0) | (alpha == 1)).float().mean()
    assert logged["search/alpha_at_bounds"].item() == pytest.approx(share.item())
    assert [seen["logged"]["search/step"].item() for seen in watch.seen] == [1, 2, 3]


def test_schedules_start_at_zero_after_warmup_fall_linearly_and_as_a_cosine(loaded):
    pretrained, data = loaded
    optim = Optim(**{**vars(OPTIM), "warmup_ratio": 0.4})
    watch = Watch()
    module = BilevelSearchModule(mixed_model(pretrained), settings(), optim, 5, 0, 0)
    fit(module, data, watch)
    rates = [(s["logged"]["search/lr"].item(), s["logged"]["search/alpha_lr"].item())
             for s in watch.seen]  # fmt: skip
    linear, cosine = zip(*rates, strict=True)
    assert linear == pytest.approx([0, 0.005, 0.01, 0.01 * 2 / 3, 0.01 / 3], abs=1e-9)
    assert cosine == pytest.approx([0, 0.05, 0.1, 0.075, 0.025], abs=1e-8)


def test_a_loss_that_is_not_finite_names_search_and_step(loaded):
    pretrained, data = loaded
    model = mixed_model(pretrained)
    with torch.no_grad():
        model.classifier.weight.fill_(float("inf"))
    module = BilevelSearchModule(model, settings(), OPTIM, 5, 0, k=1)
    with pytest.raises(
        RunError, match=r"search 2, step 0: the inner loss is nan .*: classifier.weight"
    ):
        fit(module, data)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("inner", "norm of the inner gradient"),
        ("outer", "norm of the outer gradient"),
        ("direct", "norm of alpha's gradient"),
        ("implicit", "norm of alpha's gradient"),
        ("alpha", "norm of alpha"),
    ],
)
def test_a_tensor_that_is_not_finite_is_named(loaded, monkeypatch, place, what, bad):
    """1e30 is finite, but its square, which a norm sums, is not."""
    pretrained, data = loaded
    search = SearchStep(mixed_model(pretrained).train(), settings(), lambda step, mask: step)
    batch = next(iter(data.search_dataloader(0, 0.8)))[0]
    optimizers = [torch.optim.SGD(p.values(), lr=0.1) for p in (search.weights, search.alpha)]
    position = {"inner": 2, "outer": len(search.alpha) + 2}.get(place, 2)
    names = {"inner": [*search.weights], "outer": [*search.alpha, *search.weights]}
    name = names.get(place, [*search.alpha])[position]

    def ruined(tensors):
        if len(tensors) > position:
            tensors[position].view(-1)[0] = bad
        return tensors

    def after(owner, attribute):
        before = getattr(owner, attribute)
        monkeypatch.setattr(owner, attribute, lambda *args, **kw: ruined(before(*args, **kw)))

    if place == "inner":
        after(search_step, "average")
    elif place in ("outer", "direct"):
        after(hg, "gradients")
    elif place == "implicit":
        after(search, "_mixed_product")
    else:
        if bad == 1e30:
            pytest.skip("alpha is put back into its bounds")
        monkeypatch.setattr(
            search_step, "clamp_alpha", lambda model: search.alpha[name].data[0].fill_(bad)
        )
    with pytest.raises(RunError, match=f"^search, step 0: the {what} is (nan|inf) ") as error:
        search(batch["inner"], batch["outer"], optimizers)
    assert name in str(error.value)


def test_a_zero_outer_gradient_has_no_implicit_term(loaded, monkeypatch):
    watch = Watch()
    monkeypatch.setattr(
        SearchStep, "_preconditioned", lambda self, v, _: [torch.zeros_like(d) for d in v]
    )
    module = searched(loaded, callback=watch, steps=2)
    assert module.search.zero_directions == 2
    assert watch.seen[1]["logged"]["search/implicit_norm"] == 0


def test_a_model_may_change_its_precision_between_steps(loaded):
    pretrained, data = loaded
    search = SearchStep(mixed_model(pretrained).train(), settings(), lambda step, mask: step)
    batch = next(iter(data.search_dataloader(0, 0.8)))[0]
    for convert in (search.model.float, search.model.double):
        convert()
        optimizers = [torch.optim.SGD(p.values(), lr=0.1) for p in (search.weights, search.alpha)]
        search(batch["inner"], batch["outer"], optimizers)
    assert search.zero_directions == 0 and search.step == 2


@pytest.mark.parametrize(
    ("preset", "passes", "distinct"),
    [("paper", 4, 2), ("released", 5, 5), ("rollback", 5, 2), ("first_order", 2, 2)],
)
def test_masks_of_large_inner_batches_are_drawn_once(loaded, monkeypatch, preset, passes, distinct):
    """Same weights, same alpha, bit for bit; fewer draws where passes share their masks."""

    def states(worth):
        monkeypatch.setattr(search_step, "_worth_keeping", lambda batch: worth)
        with CountedDraws() as counted:
            module = searched(loaded, preset, steps=2)
        return [value.clone() for value in module.model.state_dict().values()], counted.draws

    (drawn, all_draws), (kept, fewer) = states(False), states(True)
    assert all(torch.equal(a, b) for a, b in zip(drawn, kept, strict=True))
    assert fewer * passes == all_draws * distinct > 0


def test_batches_are_large_from_a_thousand_tokens_on(loaded):
    def kept(size):
        return search_step._worth_keeping(
            {"labels": torch.zeros(8), "input_ids": torch.zeros(8, size)}
        )

    assert kept(125)
    assert not kept(124)
