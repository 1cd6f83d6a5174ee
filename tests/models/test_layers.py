import pytest
import torch
from families import FAMILIES
from transformers import AutoConfig, AutoModelForSequenceClassification

from agwm.errors import UserError
from agwm.models.layers import blocks, pooler, redraw, set_dropout, top
from agwm.seeding import stream

BLOCKS = {
    "bert": ["bert.encoder.layer.0", "bert.encoder.layer.1"],
    "roberta": ["roberta.encoder.layer.0", "roberta.encoder.layer.1"],
    "bart": [f"model.{part}.layers.{i}" for part in ("encoder", "decoder") for i in range(2)],
    "deberta": ["deberta.encoder.layer.0", "deberta.encoder.layer.1"],
    "xlnet": ["transformer.layer.0", "transformer.layer.1"],
    "deberta-v2": ["deberta.encoder.layer.0", "deberta.encoder.layer.1"],
    "deberta-v3": ["deberta.encoder.layer.0", "deberta.encoder.layer.1"],
    "electra": ["electra.encoder.layer.0", "electra.encoder.layer.1"],
    "modernbert": ["model.layers.0", "model.layers.1"],
    "distilbert": ["distilbert.transformer.layer.0", "distilbert.transformer.layer.1"],
    "albert": ["albert.encoder.albert_layer_groups.0"],
    "xlm-roberta": ["roberta.encoder.layer.0", "roberta.encoder.layer.1"],
}
POOLERS = {"bert": "bert.pooler", "albert": "albert.pooler", "modernbert": "head"}
BART_DROPOUT = dict.fromkeys(
    ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"), 0.1
)


def classifier(family, **changed):
    own = BART_DROPOUT if family == "bart" else {}
    config = AutoConfig.for_model(**FAMILIES[family] | own | changed, num_labels=2)
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).train()


@pytest.fixture
def batch():
    ids = torch.randint(5, 30, (4, 7), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 3  # BART pools at its end-of-text token
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_found_from_the_bottom_to_the_top(family):
    model = classifier(family)
    names = {id(module): name for name, module in model.named_modules()}
    assert [names[id(block)] for block in blocks(model)] == BLOCKS[family]


def test_a_module_list_inside_a_block_holds_no_blocks():
    model = classifier("bert")
    for block in model.bert.encoder.layer:
        block.adapters = torch.nn.ModuleList([torch.nn.Linear(16, 16)])
    assert blocks(model) == list(model.bert.encoder.layer)


def test_only_a_pooler_of_the_checkpoint_counts():
    model = classifier("bert")
    assert pooler(model, {"classifier.weight"}) is model.bert.pooler
    assert pooler(model, {"bert.pooler.dense.weight"}) is None
    model = classifier("modernbert")
    assert pooler(model, {"classifier.weight"}) is model.head
    assert pooler(model, {"head.dense.weight", "classifier.weight"}) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pooler_is_that_of_the_family(family):
    model = classifier(family)
    names = {id(module): name for name, module in model.named_modules()}
    found = pooler(model, set())
    assert (names[id(found)] if found is not None else None) == POOLERS.get(family)


def test_no_layer_is_on_top_where_layers_share_their_weights():
    shared = classifier("albert", num_hidden_layers=12, num_hidden_groups=2)
    reason = "method.layers=1: albert goes through 12 layers with the weights of 2"
    with pytest.raises(UserError, match=reason):
        top(shared, 1, set())
    assert top(shared, 0, set()) == [shared.albert.pooler]
    assert top(shared, None, None) == blocks(shared)
    own = classifier("albert", num_hidden_layers=2, num_hidden_groups=2)
    assert top(own, 1, None) == [own.albert.encoder.albert_layer_groups[1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_without_dropout_two_training_passes_agree_to_the_bit(family, batch):
    model = classifier(family)
    assert not torch.equal(model(**batch).logits, model(**batch).logits)
    set_dropout(model, 0.0)
    assert model.training
    assert torch.equal(model(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_of_bart_s_rates_is_turned_off(rate, batch):
    zero = dict.fromkeys(BART_DROPOUT, 0.0)
    model = classifier("bart", **zero | {rate: 0.5})
    assert not torch.equal(model(**batch).logits, model(**batch).logits)
    set_dropout(model, 0.0)
    assert torch.equal(model(**batch).logits, model(**batch).logits)


def test_dropout_is_set_below_the_given_module_alone(batch):
    model = classifier("bert")
    set_dropout(model.bert.encoder.layer[0], 0.0)
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {n for n, p in rates.items() if p == 0} == {n for n in rates if ".layer.0." in n} != {}
    assert set(rates.values()) == {0.0, 0.1}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_redrawn_block_has_random_matrices_norms_of_one_and_zeros_elsewhere(family):
    top = blocks(classifier(family))[-1]
    with torch.no_grad():
        for parameter in top.parameters():
            parameter.fill_(7.0)
    redraw(top, 0.02, stream(0, "test"))
    norms = {
        id(module.weight) for name, module in top.named_modules()
        if type(module).__name__ in ("LayerNorm", "DebertaLayerNorm")
    }  # fmt: skip
    assert norms
    for name, parameter in top.named_parameters():
        if parameter.dim() >= 2:
            assert parameter.unique().numel() == parameter.numel(), name
            assert 0 < parameter.abs().max() < 0.02 * 5, name
        else:
            assert (parameter == (1.0 if id(parameter) in norms else 0.0)).all(), name


def test_redrawn_matrices_are_normal_with_the_given_standard_deviation():
    layer = torch.nn.Linear(400, 400)
    redraw(layer, 0.02, stream(0, "test"))
    values = (layer.weight.detach() / 0.02).flatten().double()
    assert values.std() == pytest.approx(1, rel=0.01)
    assert values.mean() == pytest.approx(0, abs=0.01)
    # Of a normal distribution, 4.55 % lie beyond two standard deviations; of a truncated, none.
    assert (values.abs() > 2).double().mean() == pytest.approx(0.0455, rel=0.05)
    again = torch.nn.Linear(400, 400)
    redraw(again, 0.02, stream(0, "test"))
    assert torch.equal(again.weight, layer.weight)
