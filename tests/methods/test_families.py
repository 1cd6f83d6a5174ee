"""Every method on every family of models, tiny and with random weights."""

import json

import pytest
from families import FAMILIES

from agwm.errors import UserError
from agwm.paths import root
from agwm.results.record import read_record

METHODS = sorted(path.stem for path in (root() / "conf" / "method").glob("*.yaml"))
SHORT = {
    "agwm": ["method.num_searches=1", "method.search_epochs=1"],
    "vanilla_matched": ["method.matched.num_searches=1", "method.matched.search_epochs=1"],
    "model_soup": ["method.members=2"],
    "paint": ["method.candidates=2"],
    "top_k_layers": ["method.layers=1"],
    "lora": ["method.epochs=1"],
    "prefix": ["method.epochs=1"],
    "prompt": ["method.epochs=1"],
    "vanilla_long": ["method.epochs=2"],
}
# Those of the paper and plain fine-tuning's relatives meet nothing new in the further families.
PAPER = ("roberta", "bart", "deberta", "xlnet")
STRUCTURAL = (
    "agwm", "child_tuning_d", "dps_dense", "linear_probe", "lora", "mixout", "prefix", "prompt",
    "r4f", "re_init", "top_k_layers",
)  # fmt: skip
CASES = [
    (name, family)
    for family in FAMILIES
    for name in METHODS
    if family in PAPER or (family != "bert" and name in STRUCTURAL)
]
NO_PAST = ("deberta", "deberta-v2", "xlnet", "modernbert", "distilbert", "albert")
REFUSED = {
    **{("prefix", kind): f"{kind} does not take past_key_values" for kind in NO_PAST},
    ("prefix", "deberta-v3"): "deberta-v2 does not take past_key_values",
    **{
        (name, "bart"): "bart is an encoder-decoder"
        for name in ("prefix", "prompt", "linear_probe")
    },
    **{
        (name, "albert"): r"layers=1: albert goes through 3 layers .* of 1, .*layers=0 works$"
        for name in ("re_init", "top_k_layers")
    },
}


untrained = {}  # scores of each family before training


@pytest.mark.parametrize(("name", "family"), CASES)
def test_runs_or_says_in_one_line_why_not(tiny_run, tmp_path, name, family):
    def finished(*overrides):
        return tiny_run(*overrides, architecture=FAMILIES[family])

    overrides = [f"method={name}", "n_train=20", *SHORT.get(name, [])]
    if (name, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name, family]) as caught:
            finished(*overrides)
        assert "\n" not in str(caught.value)
        return
    record, folder = finished(*overrides)
    assert read_record(folder)["status"] == record.status == "ok"
    if family not in untrained:
        still = finished("method=vanilla", "n_train=20", "optim.lr=0", "save_model=false")[1]
        untrained[family] = scores(still)
    assert scores(folder) != untrained[family]


@pytest.mark.parametrize("overrides", [
    ["method=re_init", "method.layers=0"],
    ["method=top_k_layers", "method.layers=0"],
    ["method=top_k_layers", "method.layers=null"],
])  # fmt: skip
def test_what_is_said_to_work_with_shared_layers_does(tiny_run, overrides):
    record, _ = tiny_run(*overrides, "n_train=20", architecture=FAMILIES["albert"])
    assert record.status == "ok"


def scores(folder):
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line)["scores"] for line in lines]
