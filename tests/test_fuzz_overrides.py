"""Any `key=value`: a configuration that could be run, or one line that says why not."""

import sys
from types import SimpleNamespace

from fuzz import tried
from hypothesis import given
from hypothesis import strategies as st
from one_line import assert_told

from agwm.compose import known_keys

# An argument holds no NUL; one that begins with - is an option.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
grammar = st.text(st.sampled_from("[]{}(),:'\"\\ $=.*~+-@/01ab"), max_size=12)
VALUES = (
    *("null", "nan", "inf", "-1", "0", "1e400", "10", "1.5", "true", "[1,2]", "[]", "{a:1}", "{}"),
    *(
        "1,2",
        "range(3)",
        "choice(1,2)",
        "${seed}",
        "${nosuch}",
        "${task}",
        "???",
        "'",
        "a b",
        "../x",
    ),
    *("", "${oc.env:NOSUCH}", "vanilla", "cola", str(10**30), "a" * 300, "[[1]]", "glob(*)"),
)
keys = st.sampled_from([*known_keys(), "task", "model", "method", "optim", "hydra.launcher.gpus"])
prefixes = st.sampled_from(["", "", "", "+", "++", "~"])
arguments = (
    st.tuples(
        st.tuples(prefixes, keys | texts).map("".join), st.sampled_from(VALUES) | texts | grammar
    ).map("=".join)
    | texts
)


@tried(45, 500)
def test_any_argument_is_a_configuration_or_told_in_one_line(cli, monkeypatch, tmp_path, budget):
    def started(*_):
        raise AssertionError("the run was started")

    monkeypatch.setitem(sys.modules, "agwm.run", SimpleNamespace(run=started))
    monkeypatch.setitem(sys.modules, "agwm.results.summary", SimpleNamespace(print_summary=started))

    @budget
    @given(arguments.filter(lambda argument: not argument.startswith("-")))
    def holds(argument):
        code, out, err = cli(argument, "dry_run=true")
        if code == 0:
            assert out.startswith("to do: ") and out.count("\n") == 1 and err == ""
        else:
            assert_told(code, err, "")
            assert out == ""
        assert not list(tmp_path.iterdir())

    holds()
