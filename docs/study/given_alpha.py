"""Fine-tuning with an alpha that another run has learned, from the first step on.

    python docs/study/given_alpha.py NAME ALPHA [KEY=VALUE ...]

ALPHA is a run's alpha.safetensors, NAME what the record calls the method. NAME may end in

- "exchanged": the entries of each a1 and each a2 change places at random. Their means stay, and
  with them the mean coefficient of every matrix; what they know of rows and columns is lost.
- "as a start": the mixture is folded into the weights before the first step, and those are
  fine-tuned as they are. Alpha says where W starts and nothing of how far it goes.
- "as rates": the convex form, c * W + (1 - c) * W0, which at the start is W0 whatever c is. Alpha
  says how far each weight goes and nothing of where it starts.

All else is `method=random_alpha`; KEY=VALUE as for `python -m agwm.train`.
"""

import sys
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from safetensors.torch import load_file
from torch import from_numpy
from torch.nn import Module

from agwm.compose import compose_config
from agwm.identity import config_hash
from agwm.method import Runner, build_method
from agwm.methods.random_alpha import RandomAlpha
from agwm.models.mixed import alpha_parameters, alpha_tensors, fix_alpha, merge
from agwm.run import run


@dataclass(kw_only=True)
class GivenAlpha(RandomAlpha):
    """Fine-tuning of a mixed model whose alpha is read from a file."""

    file: str

    def prepare(self, model: Module, runner: Runner) -> Module:
        mixed = self.mixed(model, runner)
        given = load_file(self.file)
        generator = runner.stream("exchange")
        # Both are in the order of the model's matrices.
        for (name, own), factor in zip(
            alpha_tensors(mixed).items(), alpha_parameters(mixed).values(), strict=True
        ):
            entries = given[name]
            if self.name.endswith("exchanged"):
                entries = entries.flatten()[from_numpy(generator.permutation(own.numel()))]
            factor.data.copy_(entries.view_as(own))
        return merge(mixed) if self.name.endswith("as a start") else fix_alpha(mixed)


def main(name: str, file: str, overrides: list[str]) -> None:
    """Write a run to runs/given/<task>/NAME/seed<seed>."""
    config = compose_config("method=random_alpha", *overrides)
    settings = asdict(build_method(config.method)) | {"name": name, "file": file}
    if name.endswith("as rates"):
        settings["mix_form"] = "convex"
    folder = Path("runs/given", config.task.name, name.replace(" ", "_"), f"seed{config.seed}")
    # Another alpha is another run, which does not go on from what this one has left unfinished.
    identity = f"{config_hash(config)} {name} {sha256(Path(file).read_bytes()).hexdigest()}"
    hash_ = sha256(identity.encode()).hexdigest()[:12]
    record = run(config, GivenAlpha(**settings), folder, hash_)
    print(f"{name}, seed {config.seed}: {record.headline}")


if __name__ == "__main__":
    main(*sys.argv[1:3], sys.argv[3:])
