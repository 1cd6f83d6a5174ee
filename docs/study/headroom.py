"""What a mixture with the pretrained weights could gain at best on a plainly fine-tuned model.

    python -m agwm.train -m task=sst2,stsb data_dir=glue n_train=300 method=vanilla seed=0,1,2
    python docs/study/headroom.py runs/single/*/minilm/vanilla/n300/seed* > headroom.csv

Each pretrained linear layer of a finished run's model/ is set to W0 + a (W - W0). The rows of the
result are scores, in percent, on the evaluation split: for one a in all layers, and for the best a
of each block, sought on that very split, block after block. No method may choose so.
"""

import csv
import sys
from pathlib import Path

from agwm.data.datamodule import GlueDataModule
from agwm.models.folder import read_folder
from agwm.models.inference import load_classifier
from agwm.models.mixed import pretrained_linears
from agwm.models.pretrained import load_pretrained
from agwm.rerun import saved_config
from agwm.training.metrics import predictions, score

SHARES = (0.25, 0.5, 0.75, 1.0, 1.25)


class Interpolated:
    """Scores of a run's model with its linear layers between W0 and W.

    Args:
        run: directory of a finished run with a model.
    """

    def __init__(self, run: Path) -> None:
        self.config = saved_config(run)
        config, seed = self.config, self.config.seed
        data = GlueDataModule(config.task, config.optim, seed, config.n_train, config.data_dir)
        self.examples = data.evaluation[config.task.evaluation[0]]
        self.classifier = load_classifier(read_folder(run), "cpu")
        start = load_pretrained(config.model, config.task, head_seed=0)
        names = [f"{name}.weight" for name, _ in pretrained_linears(start.model, start.fresh)]
        before, now = start.model.state_dict(), self.classifier.module.state_dict()
        self.ends = {name: (before[name], now[name].clone()) for name in names}
        # "bert.encoder.layer.3", and the pooler.
        self.blocks = sorted({_block(name) for name in names})

    def score(self, shares: dict[str, float]) -> float:
        """Headline metric in percent, with a share of W for each block."""
        state = self.classifier.module.state_dict()
        for name, (before, now) in self.ends.items():
            state[name].copy_(before.lerp(now, shares[_block(name)]))
        logits, _ = self.classifier.logits(self.examples.texts, 64)
        task = self.config.task
        return 100 * score(task.metrics[0], predictions(logits, task), self.examples.labels, task)


def _block(name: str) -> str:
    head, layer, rest = name.partition(".layer.")
    return f"{head}.layer.{rest.split('.')[0]}" if layer else name.removesuffix(".weight")


def main(runs: list[Path]) -> None:
    """Print CSV."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["task", "seed", "share", "score"])
    for run in runs:
        model = Interpolated(run)
        cell = [model.config.task.name, model.config.seed]
        scores = {share: model.score(dict.fromkeys(model.blocks, share)) for share in SHARES}
        for share, value in scores.items():
            writer.writerow([*cell, share, f"{value:.2f}"])
        top = max(scores, key=scores.get)
        shares, best = dict.fromkeys(model.blocks, top), scores[top]
        for block in model.blocks:
            for share in SHARES:
                if share != top and (value := model.score(shares | {block: share})) > best:
                    shares, best = shares | {block: share}, value
        writer.writerow([*cell, "best by block", f"{best:.2f}"])
        sys.stdout.flush()


if __name__ == "__main__":
    main([Path(run) for run in sys.argv[1:]])
