"""Command line: `python -m agwm.export MODEL OUT.onnx`; see `--help`."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from agwm.atomic import replacing
from agwm.command import Parser, exit_code
from agwm.errors import UserError
from agwm.models.folder import ADAPTER, read_folder
from agwm.results.rows import check_free

_DESCRIPTION = """\
A model as ONNX, for batches and lengths of any size.

Inputs are those of the tokenizer (int64, batch x length), the output is `logits`. The file is
compared with the model before it is put in place. `id2label` and `max_length` are in its metadata;
the tokenizer stays in MODEL.
"""
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def main(arguments: list[str] | None = None) -> int:
    """Export and compare; 0, 1 if that failed, 2 for a mistake of the user."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _export(options))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agwm.export",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder: a run's, or its model/")
    parser.add_argument("output", type=Path, metavar="OUT.onnx")
    parser.add_argument("--force", action="store_true", help="replace the output")
    return parser


def _export(options: argparse.Namespace) -> None:
    if options.output.suffix != ".onnx":
        raise UserError(f"OUT={options.output}: must end in .onnx")
    check_free("OUT", options.output, options.force)
    folder = read_folder(options.model)
    if (folder.path / ADAPTER).is_dir():
        raise UserError(f"MODEL={options.model}: a prefix or prompt is not exported; lora is")
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)}: not installed; pip install 'agwm[onnx]'")
    # Seconds, which a mistake is not to wait for.
    from agwm.models.inference import load_classifier
    from agwm.models.onnx import write_onnx

    model = load_classifier(folder, "cpu")
    with replacing(options.output) as temporary:
        difference = write_onnx(model, folder.labels, temporary)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size:.1f} MB, logits differ by at most {difference:.1e}")


if __name__ == "__main__":
    sys.exit(main())
