"""What README.md and docs/*.md refer to is there, and figures that can be computed are right."""

import re
import sys
from types import ModuleType

import pytest
from pages import PAGES
from scipy import optimize, stats

from agwm.bilevel import PRESETS
from agwm.method import build_method
from agwm.paths import root
from agwm.report.statistics import paired_power


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_exist(page):
    text, here = PAGES[page], (root() / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = here / name if name else root() / page
        assert file.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in slugs, target
    shown = re.findall(r"# ((?:agwm|conf)/\S+)", text)  # the example of a new method
    for name in re.findall(r"[` ]((?:agwm|tests|benchmarks|conf|sweeps)/[\w/]+\.\w+)", text):
        if name not in shown and "NAME" not in name:
            assert (root() / name).is_file(), name


def test_the_example_of_a_new_method_runs(tiny_run, monkeypatch):
    text = PAGES["docs/adding_a_method.md"]
    code = re.search(r"```python\n# (agwm/methods/\w+)\.py\n(.*?)```", text, flags=re.DOTALL)
    target = re.search(r"_target_: (agwm\.methods\.(\w+)\.\w+)", text)
    name = code.group(1).replace("/", ".")
    assert name == f"agwm.methods.{target.group(2)}"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(code.group(2), module.__dict__)
    method = build_method({"_target_": target.group(1), "name": target.group(2)})
    monkeypatch.setattr("agwm.methods.vanilla.Vanilla.prepare", type(method).prepare)
    record, _ = tiny_run("method=vanilla")
    assert record.status == "ok"


def rows(page, first):
    """Cells of the table of `page` whose head begins with `first`."""
    lines = PAGES[page][PAGES[page].index(f"| {first} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def test_the_hooks_are_those_of_the_class():
    from agwm.method import Method

    _, *found = rows("docs/adding_a_method.md", "hook")
    names = [re.match(r"`(\w+)\(", name).group(1) for name, *_ in found]
    assert sorted(names) == sorted(
        n for n in vars(Method) if callable(getattr(Method, n)) and n[0] != "_"
    )


def test_the_presets_of_the_method_page_are_those_of_the_code():
    (_, *names), *switches = rows("docs/method.md", "switch")
    found = {
        preset.strip("`"): {key.strip("`"): values[place] for key, *values in switches}
        for place, preset in enumerate(names)
    }
    assert found == {
        preset: {key: str(value) for key, value in values.items()}
        for preset, values in PRESETS.items()
    }


def test_the_passes_of_the_method_page_are_those_of_the_code(compose):
    config = compose("method=agwm").method
    _, *found = rows("docs/method.md", "value")
    assert {name.strip("`") for name, *_ in found} >= {"none", "unrolled"} and len(found) == 7
    for name, _, said in found:
        for steps in (1, 4):
            changed = {"hypergradient": name.strip("`"), "hypergradient_steps": steps}
            method = build_method({**config, **changed})
            terms = [term.split() for term in said.split("+")]
            values = [[steps if factor == "T" else int(factor) for factor in t] for t in terms]
            expected = sum(v[0] * (v[1] if len(v) > 1 else 1) for v in values)
            assert method.settings().passes == expected, name


def test_the_seeds_of_the_report_page_are_computed_right():
    _, *found = rows("docs/report.md", "seeds")
    assert [int(row[0]) for row in found] == [3, 5, 10, 20]
    for count, flip, significant, powerful, _ in found:
        n = int(count)
        assert float(flip) == pytest.approx(2 ** (1 - n), abs=5.1e-4)
        assert float(significant[:-2]) == pytest.approx(
            stats.t.isf(0.025, n - 1) / n**0.5, abs=0.006
        )
        effect = optimize.brentq(lambda e, n=n: paired_power(e, n) - 0.8, 0.1, 10)
        assert float(powerful[:-2]) == pytest.approx(effect, abs=0.006)


def test_every_tick_of_the_peers_page_names_a_test():
    head, *found = rows("docs/peers.md", "feature")
    ours, test = head.index("agwm"), head.index("test")
    assert len(found) > 20
    for row in found:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row[test])
        assert len(row) == len(head) and bool(row[ours]) == bool(files), row[0]
        assert all((root() / file).is_file() for file in files), row[0]
