import pytest

from agwm.errors import UserError
from agwm.report.records import read_names, read_records


def test_methods_are_called_as_a_file_says(tmp_path, write_run):
    write_run(method="agwm", variant=["rank=8"])
    write_run(method="agwm", task="rte", variant=["optim.lr=0.1", "rank=8"])
    write_run(method="vanilla")
    file = tmp_path / "names.yaml"
    file.write_text("agwm+rank=8: eight\nagwm+optim.lr=0.1+rank=8: eight\nnone: ${other}\n")
    keys = {run.cell[2:] for run in read_records([tmp_path], read_names(file)).ok}
    assert keys == {("eight", "cola"), ("eight", "rte"), ("vanilla", "cola")}


def test_two_methods_of_one_name_are_refused(tmp_path, write_run):
    write_run(method="agwm", seed=0)
    write_run(method="vanilla", seed=0)
    with pytest.raises(UserError, match="are the same cell and seed 0"):
        read_records([tmp_path], {"agwm": "vanilla"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("a: [", "not readable"),
        ("- a", "lines of the form"),
        ("a: 1", "lines of the form"),
    ],
)
def test_a_file_of_names_that_is_none_is_told(tmp_path, text, reason):
    file = tmp_path / "names.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=f"--names=.*{reason}") as error:
        read_names(file)
    assert "\n" not in str(error.value)
