import logging
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from agwm.data.datamodule import Encoded
from agwm.errors import UserError
from agwm.method import build_method
from agwm.methods.paint import mean_loss, mix
from agwm.training.runner import LightningRunner

GRID = [i / 10 for i in range(11)]


def paint(refit=True, candidates=11, held_out=0.2, largest=1.0):
    target = "agwm.methods.paint.Paint"
    values = {"held_out": held_out, "candidates": candidates, "largest": largest, "refit": refit}
    return build_method({"_target_": target, "name": "paint", **values})


class Line(nn.Module):
    """One number in the body, which pretraining has left at 0 and a fit takes to 1; a head."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))


def chosen(score, loss=lambda c: 0.0, **values):
    """Coefficient in the result, if that is what `score` and `loss` say of each coefficient."""

    def finetune(model, method, phase):
        model.body.data.fill_(1.0), model.head.data.fill_(3.0)

    runner = SimpleNamespace(
        fresh=frozenset({"head"}),
        labels=[0.0] * 10,
        classes=None,
        pretrained=Line,
        finetune=finetune,
        held_out=lambda share: [1, 4],
        # Squared error = loss; the score finds the coefficient in the second column.
        logits=lambda model, examples: torch.tensor(
            [[loss(round(model.body.item(), 6)) ** 0.5, model.body.item()]] * 2
        ),
        score=lambda logits, examples: score(round(logits[0, 1].item(), 6)),
    )
    model = paint(**values).run(runner)
    assert model.head.item() == 3.0
    return model.body.item()


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("best", [0.0, 0.3, 1.0])
def test_the_coefficient_is_the_one_with_the_best_score(best, refit):
    assert chosen(lambda c: -abs(c - best), refit=refit) == pytest.approx(best, abs=1e-6)


def test_the_coefficient_is_logged(monkeypatch):
    told = []
    monkeypatch.setattr(logging.getLogger("agwm"), "info", lambda *parts: told.append(parts))
    chosen(lambda c: -abs(c - 0.3))
    assert [line % tuple(values) for line, *values in told] == ["paint: c = 0.3"]


def test_of_equal_scores_the_lower_loss_decides():
    assert chosen(lambda c: float(c >= 0.4), lambda c: abs(c - 0.6)) == pytest.approx(0.6)
    assert chosen(lambda c: float(c >= 0.4), lambda c: c) == pytest.approx(0.4)


def test_an_undefined_score_is_worse_than_any():
    assert chosen(lambda c: -1.0 if c == 0.2 else float("nan")) == pytest.approx(0.2)


def test_the_grid_has_as_many_coefficients_as_asked_for():
    seen = []
    chosen(lambda c: seen.append(c) or 0.0, candidates=5)
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_the_grid_goes_as_far_as_asked_for():
    seen = []
    body = chosen(lambda c: seen.append(c) or -abs(c - 1.2), candidates=6, largest=1.5)
    assert seen == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.2, 1.5], abs=1e-6)
    assert body == pytest.approx(1.2)


@pytest.mark.parametrize("largest", [0.0, -1.0, float("inf"), float("nan")])
def test_a_grid_that_goes_nowhere_or_has_no_end_is_refused(largest):
    with pytest.raises(UserError, match=r"method\.largest="):
        paint(largest=largest)


def test_the_mixture_is_exact_at_both_ends_and_on_a_line_between():
    generator = torch.Generator().manual_seed(0)
    start, end = ({"weight": torch.randn(50, 50, generator=generator)} for _ in range(2))
    model = nn.Linear(50, 50)
    bias = model.bias.detach().clone()
    for coefficient, expected in ((0.0, start["weight"]), (1.0, end["weight"])):
        mix(model, start, end, coefficient)
        assert torch.equal(model.weight, expected)
    mix(model, start, end, 0.3)
    torch.testing.assert_close(model.weight.data, 0.7 * start["weight"] + 0.3 * end["weight"])
    assert torch.equal(model.bias, bias)


def test_the_loss_is_the_cross_entropy_or_the_squared_error():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert mean_loss(logits, [0, 1], 2) == pytest.approx(0.6931472)
    assert mean_loss(torch.tensor([[1.0], [4.0]]), [2.0, 1.0], None) == pytest.approx(5.0)


@pytest.fixture
def watched(monkeypatch):
    """Of every fit and every evaluation: the examples seen and the model's state at its end."""
    seen = {"finetune": [], "logits": [], "score": []}
    read = Encoded.__getitem__
    current = []

    def noted(encoded, indices):
        current.extend(indices)
        return read(encoded, indices)

    def around(name):
        original = getattr(LightningRunner, name)

        def called(runner, model, *arguments):
            current.clear()
            result = original(runner, model, *arguments)
            seen[name].append((sorted(current), deepcopy(model.state_dict())))
            return result

        monkeypatch.setattr(LightningRunner, name, called)

    score = LightningRunner.score

    def scored(runner, logits, examples):
        seen["score"].append(score(runner, logits, examples))
        labels = torch.tensor([runner.labels[i] for i in examples])
        accuracy = (logits.argmax(-1) == labels).double().mean().item()
        loss = nn.functional.cross_entropy(logits, labels).item()
        seen.setdefault("table", []).append((accuracy, -loss))
        return seen["score"][-1]

    around("finetune"), around("logits")
    monkeypatch.setattr(Encoded, "__getitem__", noted)
    monkeypatch.setattr(LightningRunner, "score", scored)
    return seen


@pytest.mark.parametrize("refit", [True, False])
def test_in_a_run_the_choice_is_made_on_examples_the_first_fit_has_not_seen(
    tiny_run, watched, refit
):
    _, folder = tiny_run(
        "method=paint", f"method.refit={refit}", "optim.lr=0.02", "optim.epochs=3",
        "task.metrics=[accuracy]",
    )  # fmt: skip
    (part, end), *second = watched["finetune"]
    (held_out, start), *_, (last, _) = watched["logits"]
    assert len(watched["logits"]) == 11 and last == held_out
    assert set(part).isdisjoint(held_out)
    assert set(part) | set(held_out) == set(range(40)) and len(held_out) == 8
    assert [set(seen) for seen, _ in second] == [set(range(40))] * refit
    assert watched["score"] == pytest.approx([accuracy for accuracy, _ in watched["table"]])

    best = GRID[max(range(11), key=lambda index: watched["table"][index])]
    final = second[0][1] if refit else end
    found = load_file(folder / "model" / "model.safetensors")
    for name, tensor in found.items():
        if name.startswith("classifier."):
            assert torch.equal(tensor, final[name])
        else:
            # At coefficient 0 the body evaluated is the pretrained one.
            expected = start[name] + best * (final[name] - start[name])
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6, msg=name)
