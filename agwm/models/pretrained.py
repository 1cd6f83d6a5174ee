"""Load a sequence classifier and its tokenizer; tell which parameters no checkpoint holds."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from agwm.config import Model, Task
from agwm.errors import UserError
from agwm.models.folder import NO_SAFETENSORS
from agwm.models.layers import redraw_top
from agwm.models.package import package_folder
from agwm.models.prior import start_at_prior
from agwm.models.scale import start_in_units
from agwm.models.tiny import tiny_tokenizer
from agwm.seeding import stream

_LOG = logging.getLogger("agwm")
# How transformers says, of a folder and of a model on the Hub, that there are no such weights.
_PICKLED = re.compile("no file named model.safetensors found|cannot be loaded with `safetensors`")


@dataclass(frozen=True)
class Pretrained:
    """A classifier in float32 with a fresh head, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fresh: frozenset[str]  # names of the parameters that are not the checkpoint's


def load_pretrained(
    config: Model,
    task: Task,
    head_seed: int,
    labels: Sequence[int] | Sequence[float] = (),
    label_scale: tuple[float, float] = (0.0, 1.0),
) -> Pretrained:
    """Classifier of `config` with the task's labels.

    Args:
        config: where the weights come from.
        task: its labels; None makes one output and the squared error.
        head_seed: seed of the freshly initialised parameters, and of the blocks drawn anew.
        labels: of the training examples, as they are learned; only `config.output_bias` asks for
            them.
        label_scale: mean and standard deviation in whose units that is: those that a head of the
            checkpoint is brought to, so that it goes on where it was.

    Raises:
        UserError: the model cannot be had, is no sequence classifier, or fails its checksum; its
            head cannot start at the labels' prior; it has fewer blocks than are to be drawn.
    """
    folder = package_folder(config)
    if folder is not None:
        _check_sha256(folder / "model.safetensors", config.sha256)
        weights, source = load_file(folder / "model.safetensors"), None
    elif config.name_or_path is None:
        weights, source = _random_weights(config.config), None
    else:
        weights, source = None, config.name_or_path
    tokenizer = load_tokenizer(config)
    architecture = _architecture(config, task, source)
    if len(tokenizer) < architecture.vocab_size / 2:
        raise UserError(
            f"model.name_or_path={source}: its tokenizer knows {len(tokenizer)} of the model's "
            f"{architecture.vocab_size} tokens; are the tokenizer's files in the folder?"
        )
    classifier = AutoModelForSequenceClassification
    if weights is not None:
        classifier = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(architecture)]
    # Freshly initialised parameters are drawn from torch's global generator as they are made.
    torch.manual_seed(head_seed)
    model, report = _load_from(
        classifier,
        source,
        config=architecture,
        state_dict=weights,
        dtype=torch.float32,
        output_loading_info=True,
        # Told below: the head of a checkpoint may be one for other labels.
        ignore_mismatched_sizes=True,
        use_safetensors=True,
    )
    fresh = frozenset(report["missing_keys"]) | _other_head(model, source, report)
    if fresh == {name for name, _ in model.named_parameters()}:
        raise UserError(f"model.name_or_path={source}: holds none of the model's weights")
    if config.reinit_layers is not None:
        generator, key = stream(head_seed, "reinit"), "model.reinit_layers"
        fresh |= redraw_top(model, config.reinit_layers, fresh, generator, key)
    if task.standardize:
        start_in_units(model, fresh, *label_scale)
    if config.output_bias == "prior":
        start_at_prior(model, fresh, labels, len(task.labels or []))
    return Pretrained(model, tokenizer, fresh)


def load_tokenizer(config: Model) -> PreTrainedTokenizerBase:
    """Tokenizer of `config`; raises `UserError` if it cannot be had."""
    folder = package_folder(config)
    if folder is not None:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if config.name_or_path is None:
        # XLNet classifies by the last position, where no padding may stand.
        last = config.config["model_type"] == "xlnet"
        return tiny_tokenizer(padding_side="left" if last else "right")
    return _load_from(AutoTokenizer, config.name_or_path)


def _architecture(config: Model, task: Task, source: str | None) -> Any:
    labels = task.labels
    head = (
        {"num_labels": 1, "problem_type": "regression"}
        if labels is None
        else {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: code for code, label in enumerate(labels)},
            "problem_type": "single_label_classification",
        }
    )
    if source is None:
        return AutoConfig.for_model(**config.config, **head)
    return _load_from(AutoConfig, source, **head)


def _load_from(auto_class: Any, source: str | None, **options: Any) -> Any:
    """`auto_class.from_pretrained`, with what goes wrong told in one line.

    Code that a model brings along is not run.
    """
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        return auto_class.from_pretrained(source, trust_remote_code=False, **options)
    except (UserError, MemoryError):
        raise
    # The tokenizers library raises plain exceptions, and a wrong configuration any other.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if _PICKLED.search(reason):
            raise UserError(f"model.name_or_path={source}: {NO_SAFETENSORS}") from error
        if source is not None and Path(source).is_dir():
            raise UserError(
                f"model.name_or_path={source}: this folder is no Hugging Face sequence "
                f"classifier with its tokenizer ({reason})"
            ) from error
        raise UserError(
            f"model.name_or_path={source}: neither a folder nor to be had from the Hub; check the "
            f"name, or fetch it where there is a network (hf download {source}) and give the "
            f"folder: model.name_or_path=FOLDER ({reason})"
        ) from error


def _other_head(model: PreTrainedModel, source: str | None, report: dict[str, Any]) -> set[str]:
    """Names of the head's parameters that were for other labels, and are drawn anew.

    Raises:
        UserError: parameters of the body have another shape than the configuration says.
    """
    shapes = {
        name: (tuple(found), tuple(wanted)) for name, found, wanted in report["mismatched_keys"]
    }
    for name, (found, wanted) in sorted(shapes.items()):
        if name.startswith(f"{model.base_model_prefix}."):
            raise UserError(
                f"model.name_or_path={source}: {name} is of shape {found} where config.json asks "
                f"for {wanted}; give weights and config.json of one model"
            )
    if shapes:
        names = ", ".join(sorted(shapes))
        _LOG.warning("%s: of another shape in the checkpoint, drawn anew", names)
    return set(shapes)


def _check_sha256(path: Path, expected: str | None) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise UserError(
            f"{path}: sha256 {actual} is not {expected}; the file is damaged or another one: "
            "reinstall the package that holds it"
        )


def _random_weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Body of a model whose "checkpoint" is random, the same in every run."""
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(**config)).state_dict()
