"""`model.reinit_layers`: every method may start from a model whose top is drawn anew."""

import pytest
import torch
from families import FAMILIES

from agwm.config import Model, Task
from agwm.errors import UserError
from agwm.models.mixed import pretrained_linears
from agwm.models.pretrained import load_pretrained

TASK = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
BERT = FAMILIES["bert"]


def loaded(layers=None, family=BERT, seed=0):
    return load_pretrained(Model("tiny", config=family, reinit_layers=layers), TASK, seed)


def test_the_top_and_the_pooler_are_drawn_and_all_else_is_as_without():
    plain, drawn = loaded(), loaded(1)
    new = drawn.fresh - plain.fresh
    last = BERT["num_hidden_layers"] - 1
    assert plain.fresh < drawn.fresh and len(new) == 16 + 2
    assert all(name.startswith((f"bert.encoder.layer.{last}.", "bert.pooler.")) for name in new)
    before, after = plain.model.state_dict(), drawn.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # Of a random "checkpoint" biases are 0 and norms 1 before and after.
    assert changed == {name for name in new if after[name].dim() == 2}
    matrix = torch.cat([after[name].flatten() for name in changed])
    assert matrix.std().item() == pytest.approx(BERT.get("initializer_range", 0.02), rel=0.05)


def test_the_draw_follows_the_seed_of_the_head():
    name = "bert.pooler.dense.weight"
    first, again, other = (loaded(0, seed=seed).model.state_dict()[name] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_what_is_drawn_has_no_pretrained_weights_to_mix_with():
    mixed = [[n for n, _ in pretrained_linears(x.model, x.fresh)] for x in (loaded(), loaded(1))]
    assert len(mixed[0]) - len(mixed[1]) == 6 + 1 and set(mixed[1]) < set(mixed[0])


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"albert"}))
def test_every_family_but_one_has_a_top(family):
    assert len(loaded(1, FAMILIES[family]).fresh) > len(loaded(None, FAMILIES[family]).fresh)


def test_where_all_layers_have_the_same_weights_none_is_on_top():
    with pytest.raises(UserError, match=r"model\.reinit_layers=0 works"):
        loaded(1, FAMILIES["albert"])


def test_more_than_there_is_cannot_be_drawn():
    with pytest.raises(UserError, match=r"^model\.reinit_layers=99: the model has \d blocks$"):
        loaded(99)


@pytest.mark.parametrize("method", ["vanilla", "agwm", "lora", "model_soup", "mixout", "paint"])
def test_methods_run_on_it(method, tiny_run):
    options = {"agwm": ["method.num_searches=1"], "model_soup": ["method.members=2"]}
    record, _ = tiny_run(f"method={method}", *options.get(method, []), "model.reinit_layers=1")
    assert record.status == "ok" and "model.reinit_layers=1" in record.variant
