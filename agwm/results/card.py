"""The model card: what a model is, what it was made of, and how far its figure can be trusted."""

import json
import re
from importlib import resources
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined
from omegaconf import OmegaConf

from agwm.atomic import write_atomically
from agwm.results.markdown import escaped
from agwm.results.record import read_record


def write_card(folder: Path) -> Path | None:
    """Write `model/README.md` of the finished run in `folder`; None where no model was kept.

    The spread is that over the runs beside it, of the same configuration and other seeds, which
    have finished by now.
    """
    record = read_record(folder)
    if record is None or not (folder / "model").is_dir():
        return None
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    source = resources.files("agwm.results").joinpath("card.md.j2").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["plain"] = escaped
    made_with = OmegaConf.to_yaml(OmegaConf.create({k: config[k] for k in ("optim", "method")}))
    text = environment.from_string(source).render(
        header=_header(config),
        record=record,
        config=config,
        made_with=made_with,
        fence=_fence(made_with),
        data=_data(folder),
        seeds=(values := _seeds(folder, record)),
        mean=mean(values.values()),
        std=stdev(values.values()) if len(values) > 1 else None,
    )
    path = folder / "model" / "README.md"
    write_atomically(path, text)
    return path


def _header(config: dict[str, Any]) -> str:
    """The front matter of a card, as the Hub reads it; without the name of a folder."""
    model = config["model"]
    from_hub = model["name_or_path"] and not Path(model["name_or_path"]).exists()
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=model["name_or_path"] if from_hub else None,
        metrics=config["task"]["metrics"],
        tags=["agwm", config["method"]["name"]],
    ).to_yaml()


def _fence(text: str) -> str:
    """What a block of `text` is put between: nothing in it ends the block."""
    return "`" * max([3, *(1 + len(run) for run in re.findall("`+", text))])


def _data(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "data.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _seeds(folder: Path, record: dict[str, Any]) -> dict[int, float]:
    """Headline of each finished run of the same cell, this one among them, by seed."""
    found = {record["seed"]: record["headline"]["value"]}
    for beside in folder.parent.glob("seed*"):
        other = read_record(beside) or {}
        if other.get("status") == "ok" and other.get("cell_hash") == record["cell_hash"]:
            found[other["seed"]] = other["headline"]["value"]
    return dict(sorted(found.items()))
