"""A classifier as one ONNX file, compared with what it came from."""

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import torch
from torch import Tensor, nn

from agwm.errors import RunError, UserError
from agwm.models.export import difference
from agwm.models.inference import Classifier

_TOLERANCE = 1e-4
_WORDS = "The time is now , and what will they do when we go back to the long water ?".split()
_TRACED = (3, 5)  # words of each text in a batch
_COMPARED = ((4,), (2, 16), (1, 2, 3, 5, 8), (60, 40, 7), (3,) * 9)


class _Logits(nn.Module):
    """Tensors in, a tensor out: what the exporter can follow."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(**dict(zip(self.names, inputs, strict=True))).logits


def write_onnx(model: Classifier, labels: list[str] | None, path: Path) -> float:
    """Write `model` to `path`, and run both on batches of several sizes and lengths.

    Args:
        model: on the CPU.
        labels: names in the order of their codes, for the metadata; None = regression.
        path: a file that is not there yet.

    Returns:
        Largest difference of the logits (`agwm.models.export.difference`).

    Raises:
        UserError: torch's exporter cannot follow this architecture.
        RunError: the logits differ by 1e-4 or more.
    """
    import onnx

    traced = _inputs(model, _TRACED)
    names = list(traced)
    wrapped = _Logits(model.module, names).eval()
    sizes = torch.export.Dim("batch"), torch.export.Dim("length")
    try:
        with _quiet():
            torch.onnx.export(
                wrapped,
                tuple(traced.values()),
                path,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=(tuple({0: sizes[0], 1: sizes[1]} for _ in names),),
                dynamo=True,
                external_data=False,
            )
        graph = onnx.load(path)
    # The exporter's errors share no base, and any of torch's may come through.
    except Exception as error:
        plain = re.sub(r"\x1b\[\d*m", "", str(error))
        reason = " ".join(plain.split())[:100]
        kind = type(model.module).__name__
        raise UserError(f"{kind}: torch cannot export it to ONNX ({reason})") from error
    told = {"max_length": str(model.max_length)}
    if labels is not None:
        told["id2label"] = json.dumps(dict(enumerate(labels)), ensure_ascii=False)
    onnx.helper.set_model_props(graph, told)
    onnx.save(graph, path)
    worst = _compare(model, path)
    if not worst < _TOLERANCE:
        raise RunError(f"{path}: its logits differ by {worst:.1e} from the model's; not kept")
    return worst


@torch.inference_mode()
def _compare(model: Classifier, path: Path) -> float:
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for words in (*_COMPARED, (model.max_length,)):
        inputs = _inputs(model, words)
        expected = model.module(**inputs).logits
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        (found,) = session.run(["logits"], given)
        worst = max(worst, difference(torch.from_numpy(found), expected))
    return worst


def _inputs(model: Classifier, words: Sequence[int]) -> dict[str, Tensor]:
    """Texts of so many words, padded, each tensor of shape (texts, length)."""
    texts = [" ".join(islice(cycle(_WORDS), count)) for count in words]
    encoded = model.tokenizer(
        texts, padding=True, truncation=True, max_length=model.max_length, return_tensors="pt"
    )
    return dict(encoded)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its progress by print, and warns of what it decides by itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
