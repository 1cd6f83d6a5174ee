"""Two processes, each with half of every batch, against one process with the joined batches."""

import copy
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from search_harness import OPTIM, mixed_model, settings
from torch import distributed, nn
from torch.multiprocessing import spawn
from torch.utils.data import DataLoader

from agwm.bilevel import HYPERGRADIENTS
from agwm.config import Optim
from agwm.errors import RunError
from agwm.method import Method
from agwm.methods.bi_drop import BiDrop
from agwm.models.mixed import fix_alpha
from agwm.numerics.distributed import average
from agwm.training.finetune import FineTuneModule
from agwm.training.search import BilevelSearchModule
from agwm.training.search_step import SearchStep

STEPS, ETA, ALPHA_LR = 3, 0.5, 1.0
CLIP = 1e-4  # below the norm of the gradients here
CASES = [(kind, "w_alpha") for kind in HYPERGRADIENTS]
CASES += [("finite_difference", "rollback"), ("finite_difference", "released")]


class BySgd(Method):
    """Vanilla with SGD: where a gradient is rounding noise, AdamW's step is its sign."""

    def build_optimizer(self, groups):
        return torch.optim.SGD(groups)


def iteration(model, kind, order, inner, outer):
    """W and alpha after one iteration by SGD, from which the hypergradient shows."""
    model = copy.deepcopy(model)
    chosen = settings(hypergradient=kind, order=order, alpha_lr=ALPHA_LR, max_grad_norm=CLIP)
    search = SearchStep(model, chosen, lambda step, mask: step)
    factors = list(search.alpha.values())
    weights = torch.optim.SGD(search.weights.values(), lr=ETA)
    search(inner, outer, [weights, torch.optim.SGD(factors, lr=ALPHA_LR)])
    return model.state_dict()


def fit(module, batches):
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, max_epochs=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module.model


def finetuned(model, method, batches):
    model = copy.deepcopy(model)
    method.prepare(model, SimpleNamespace(fresh={"classifier.weight"}))
    optim = Optim(**{**vars(OPTIM), "max_grad_norm": CLIP})
    return fit(FineTuneModule(model, method, optim, len(batches), seed=0), batches).state_dict()


def without_dropout(model):
    model = copy.deepcopy(model).double().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def share(batch, rank):
    half = len(batch["labels"]) // 2
    return {name: tensor[rank * half : (rank + 1) * half] for name, tensor in batch.items()}


def error_of(function, *args):
    try:
        function(*args)
    except RunError as error:
        return str(error)


def in_a_group(rank, folder):
    """What one of the two processes does."""
    distributed.init_process_group(
        "gloo", f"file://{folder}/group", timedelta(seconds=60), world_size=2, rank=rank
    )
    plain, mixed, batches = torch.load(folder / "given.pt", weights_only=False)
    shares = [{part: share(b, rank) for part, b in batch.items()} for batch in batches]
    inner, outer = shares[0]["inner"], shares[0]["outer"]
    found = {}

    once = torch.tensor([1.0 + rank])
    given = [once, None, once.double().expand(3), once]
    found["average"] = average(given), given

    still = without_dropout(mixed)
    for case in CASES:
        found[case] = iteration(still, *case, inner, outer)
    found["step"] = finetuned(without_dropout(plain), BySgd(name="sgd"), [inner])

    chosen = settings(alpha_lr=0.1)
    model = fit(BilevelSearchModule(copy.deepcopy(mixed), chosen, OPTIM, STEPS, 0, 0), shares)
    found["search"] = copy.deepcopy(model.state_dict())
    steps = [batch["inner"] for batch in shares]
    found["finetune"] = finetuned(fix_alpha(model), Method(name="vanilla"), steps)
    masked = BiDrop(name="bi_drop", sub_networks=2, child_fraction=0.3, mask_decay=True)
    found["masked"] = finetuned(plain, masked, steps)

    width = plain.config.hidden_size
    bad = {
        "inputs_embeds": torch.full((4, 3, width), float("nan") if rank else 1.0),
        "labels": inner["labels"],
    }
    still = still.float()
    found["errors"] = [
        error_of(iteration, still, "finite_difference", "w_alpha", bad, outer),
        error_of(iteration, still, "finite_difference", "w_alpha", inner, bad),
        error_of(finetuned, plain, Method(name="vanilla"), [bad]),
    ]
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def given(loaded):
    """Plain model, mixed model, and the batches of the first iterations."""
    pretrained, data = loaded
    loader = data.search_dataloader(0, 0.8)
    batches = [batch for batch, _, _ in loader][:STEPS]
    return pretrained.model, mixed_model(pretrained, std=0.05), batches


@pytest.fixture(scope="module")
def both(given, tmp_path_factory):
    """What the processes found, all of it from one start of them."""
    folder = tmp_path_factory.mktemp("group")
    torch.save(given, folder / "given.pt")  # arguments of spawn would be shared memory
    spawn(in_a_group, args=(folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def assert_identical(both, key, start):
    one, other = (found[key] for found in both)
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    moved = [name for name, tensor in start.state_dict().items() if (one[name] != tensor).any()]
    assert len(moved) > len(start.state_dict()) / 2


def assert_moved_alike(found, expected, start, names):
    """To 1e-9 of the largest move."""
    moves = [(found[n] - start[n], expected[n] - start[n]) for n in names]
    size = max(move.abs().max() for _, move in moves)
    assert size > 0
    assert max((f - e).abs().max() for f, e in moves) < 1e-9 * size


@pytest.mark.parametrize(("kind", "order"), CASES)
def test_an_iteration_is_that_of_the_joined_batches(given, both, kind, order):
    _, mixed, batches = given
    start = without_dropout(mixed)
    expected = iteration(start, kind, order, batches[0]["inner"], batches[0]["outer"])
    start = start.state_dict()
    alpha = {name for name in start if ".alpha." in name}
    for found in both:
        assert_moved_alike(found[kind, order], expected, start, alpha)
        assert_moved_alike(found[kind, order], expected, start, start.keys() - alpha)


def test_a_fine_tuning_step_is_that_of_the_joined_batch(given, both):
    plain, _, batches = given
    start = without_dropout(plain)
    expected = finetuned(start, BySgd(name="sgd"), [batches[0]["inner"]])
    for found in both:
        assert_moved_alike(found["step"], expected, start.state_dict(), expected)


def test_processes_stay_identical(given, both):
    plain, mixed, _ = given
    assert_identical(both, "search", mixed)
    assert_identical(both, "finetune", mixed)
    # Its masks come from gradients, and decay goes by the masks.
    assert_identical(both, "masked", plain)


def test_a_bad_number_in_one_process_stops_both(both):
    for found in both:
        assert [error.partition(" (")[0] for error in found["errors"]] == [
            "search, step 0: the inner loss is nan",
            "search, step 0: the outer loss is nan",
            "finetune, step 0: the loss is nan",
        ]


def test_the_mean_leaves_what_it_was_given(both):
    for rank, found in enumerate(both):
        (first, nothing, wide, last), given = found["average"]
        assert first.tolist() == last.tolist() == [1.5] and nothing is None
        assert wide.tolist() == [1.5] * 3 and wide.dtype == torch.float64
        assert given[0].tolist() == [1.0 + rank] and given[2].tolist() == [1.0 + rank] * 3
    alone = [torch.ones(2), None]
    assert all(a is b for a, b in zip(average(alone), alone, strict=True))
