import torch
from safetensors.torch import load_file

from agwm.models.mixed import alpha_parameters
from agwm.training.finetune import FineTuneModule


def test_alpha_is_learned_within_its_bounds_by_the_one_loss(tiny_run):
    record, folder = tiny_run("method=joint", "method.alpha_lr=0.5", "method.alpha_init_mean=0.5")
    alpha = torch.cat([a.flatten() for a in load_file(folder / "alpha.safetensors").values()])
    assert alpha.min() >= 0 and alpha.max() <= 1
    assert (alpha - 0.5).abs().max() > 0.1
    assert record.cost.forward_passes == record.cost.backward_passes == 3


def test_alpha_has_its_own_rate_and_decay_and_stays_out_of_the_clipping(tiny_run, monkeypatch):
    groups = []
    configure = FineTuneModule.configure_optimizers

    def watched(module):
        found = configure(module)
        groups.extend(found["optimizer"].param_groups)
        module.alpha_count = len(alpha_parameters(module.model))
        return found

    monkeypatch.setattr(FineTuneModule, "configure_optimizers", watched)
    tiny_run("method=joint")
    assert [g["initial_lr"] for g in groups] == [1e-3, 1e-3, 2e-3]
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0, 0.01]
    assert [g.get("clipped", True) for g in groups] == [True, True, False]
    assert len(groups[2]["params"]) == 2 * 13
    everything = [id(p) for g in groups for p in g["params"]]
    assert len(everything) == len(set(everything))


def test_refit_keeps_alpha_and_drops_w(tiny_run):
    def alpha_and_weights(*overrides):
        record, folder = tiny_run(*overrides)
        files = ("alpha.safetensors", "model/model.safetensors")
        states = (load_file(folder / file).values() for file in files)
        return record, *(torch.cat([tensor.flatten() for tensor in state]) for state in states)

    quick = ("method=joint", "method.alpha_lr=0.1")
    _, alpha, once = alpha_and_weights(*quick)
    record, kept, again = alpha_and_weights(*quick, "method.refit=true")
    assert torch.equal(kept, alpha) and not torch.equal(again, once)
    assert record.cost.forward_passes == record.cost.backward_passes == 2 * 3
    assert [phase["name"] for phase in record.phases] == ["joint", "finetune"]
    # With alpha left where it was drawn, nothing of the first fit is in the second.
    still = ("method=joint", "method.alpha_lr=0", "method.refit=true")
    drawn = alpha_and_weights("method=random_alpha")[1:]
    assert all(map(torch.equal, alpha_and_weights(*still)[1:], drawn))
