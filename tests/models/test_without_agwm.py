"""What a run exports, in a process to which this package does not exist."""

import json
import subprocess
import sys

import pytest
from families import FAMILIES

from agwm.data.acceptability import generate

CODE = """
import json, sys
sys.modules["agwm"] = None  # from here on `import agwm` fails
try:
    import agwm
except ImportError:
    pass
else:
    raise SystemExit("agwm is there")
from transformers import pipeline
folders, texts = json.load(sys.stdin)
found = {}
for family, folder in folders.items():
    answers = pipeline("text-classification", model=folder, top_k=None, device="cpu")(texts)
    found[family] = [{one["label"]: one["score"] for one in answer} for answer in answers]
assert not [name for name in sys.modules if name.startswith("agwm.")]
print(json.dumps(found))
"""
OVERRIDES = [
    "method=agwm", "method.num_searches=1", "method.search_epochs=1", "method.alpha_init_std=0.3",
    "n_train=20",
]  # fmt: skip


@pytest.mark.slow
def test_a_pipeline_gives_the_scores_of_the_run(tiny_run, tmp_path):
    runs = {}
    for family, architecture in FAMILIES.items():
        mixed = [f"method.xlnet_attention={family == 'xlnet'}", f"sweep={family}"]
        runs[family] = tiny_run(*OVERRIDES, *mixed, architecture=architecture)[1]
    texts = [row["sentence"] for row in generate()["validation"][:24]]
    folders = {family: str(folder / "model") for family, folder in runs.items()}
    done = subprocess.run(
        [sys.executable, "-I", "-c", CODE], input=json.dumps([folders, texts]), cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == FAMILIES.keys()
    for family, folder in runs.items():
        lines = (folder / "predictions.jsonl").read_text().splitlines()[: len(texts)]
        expected = [json.loads(line)["scores"] for line in lines]
        assert len({tuple(scores) for scores in expected}) > 1, family
        difference = max(
            abs(answer[label] - score)
            for answer, scores in zip(found[family], expected, strict=True)
            for label, score in zip(("unacceptable", "acceptable"), scores, strict=True)
        )
        assert difference < 1e-5, (family, difference)
