"""What is typed on the command line is checked in full before anything starts, and each refusal is one helpful sentence."""

import json
import os
from pathlib import Path

import pytest

from cli.drop import _send
from cli.find_run import choose
from cli.inputs import request
from cli.main import invoke
from cli.target import StackTarget, TwinTarget, find, twin_root
from tilery import __version__, registry
from tilery.outcomes import BadInput


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.EXTRA, json.dumps({"sums": "tests.toys.sums:Sums"}))


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "one.txt"
    path.parent.mkdir()
    path.write_text("1\n2\n3\n")
    return path


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of a command that must be refused with exit code 2, nothing on stdout and no traceback."""
    code = invoke(list(arguments))
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    return " ".join(said.err.split())


def test_the_version_is_told_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out == f"tilery {__version__}\n"


def test_a_missing_file_is_named(numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = numbers.with_name("two.txt")

    assert str(missing) in refused("run", "sums", str(missing), "--out", str(tmp_path / "out"), capsys=capsys)


def test_a_refused_run_leaves_nothing_behind(numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("run", "sums", str(numbers), "--out", str(tmp_path / "out"), "--set", "line=3", capsys=capsys)

    assert not (tmp_path / "out").exists()
    assert os.listdir(numbers.parent) == ["one.txt"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["line=3"], "unknown option 'line': did you mean 'lines'"),
        (["lines=0"], "option 'lines'"),
        (["lines"], "write KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_refused(
    settings: list[str], sentence: str, numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part for setting in settings for part in ("--set", setting)]

    assert sentence in refused("run", "sums", str(numbers), "--out", str(tmp_path / "out"), *given, capsys=capsys)


def test_an_unknown_workload_is_answered_with_the_nearest(
    numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused("run", "pointclod", str(numbers), "--out", str(tmp_path / "out"), capsys=capsys)

    assert "did you mean 'pointcloud'?" in said


def test_a_file_of_another_kind_is_refused_with_what_is_taken(tmp_path: Path) -> None:
    picture = tmp_path / "Photo.PNG"
    picture.write_bytes(b"")

    with pytest.raises(BadInput, match=r"Photo.PNG is not a file that sums reads; it takes .txt"):
        request("sums", [picture], None, "local")


def test_a_folder_gives_what_the_workload_reads_and_says_what_it_left(numbers: Path) -> None:
    (numbers.parent / "sub").mkdir()
    (numbers.parent / "sub" / "Two.TXT").write_text("4\n")
    (numbers.parent / "notes.md").write_text("")
    (numbers.parent / ".hidden.txt").write_text("")

    asked = request("sums", [numbers.parent], None, "local")

    assert [file.name for file in asked.files] == ["one.txt", "sub/Two.TXT"]
    assert asked.skipped == ("notes.md",)
    assert asked.ready_key == "drop/local/sums/in/_READY.json"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no file that sums reads"):
        request("sums", [tmp_path], None, "local")


def test_two_files_of_one_name_are_refused(numbers: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "one.txt"
    other.parent.mkdir()
    other.write_text("1\n")

    with pytest.raises(BadInput, match=r"the same name 'one\.txt'"):
        request("sums", [numbers, other], None, "local")


def test_several_files_are_one_dataset_named_after_their_folder(numbers: Path) -> None:
    second = numbers.with_name("zwei ä.txt")
    second.write_text("4\n")

    asked = request("sums", [numbers, second], ["lines=2"], "local")

    assert asked.dataset == "in"
    assert json.loads(asked.ready()) == {
        "options": {"lines": 2},
        "files": [{"name": "one.txt", "size": 6}, {"name": "zwei ä.txt", "size": 2}],
    }


def test_of_more_files_than_ready_may_name_all_that_lie_there_are_meant(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.inputs.READY_LIMIT", 40)
    assert json.loads(request("sums", [numbers], ["lines=2"], "local").ready()) == {"options": {"lines": 2}}


def test_what_s3_has_no_key_for_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """By workloads too for which any other file is one bad picture among others."""
    folder = tmp_path / "/".join(["d" * 200] * 5)
    folder.mkdir(parents=True)
    (folder / "deep.png").touch()
    asked = request("images", [tmp_path], None, "local", "set")
    with pytest.raises(BadInput, match=r"its key is longer than 1,024 bytes; shorten the name"):
        _send(StackTarget("tilery-dev-app"), asked, lambda sent: None)
    latin = tmp_path / os.fsdecode(b"latin-\xe4.png")
    latin.touch()
    with pytest.raises(BadInput, match=r"'latin-\\\\udce4.png' is not valid UTF-8; rename it"):
        request("images", [latin], None, "local", "set")


@pytest.mark.parametrize("name", ["a/b", "..", "tab\there"])
def test_a_dataset_name_that_no_store_takes_is_refused(name: str, numbers: Path) -> None:
    with pytest.raises(BadInput, match="--name"):
        request("sums", [numbers], None, "local", name)


@pytest.mark.parametrize("tenant", ["Acme", "", "a-b", "x" * 33])
def test_a_wrong_tenant_is_refused(tenant: str, numbers: Path) -> None:
    with pytest.raises(BadInput, match="--tenant"):
        request("sums", [numbers], None, tenant)


def test_an_output_folder_that_is_a_file_is_refused(numbers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name a folder with --out" in refused("run", "sums", str(numbers), "--out", str(numbers), capsys=capsys)


@pytest.mark.parametrize("arguments", [["run"], ["fly"], ["runs", "--limit", "0"], ["show"], ["get", "latest"]])
def test_wrong_usage_is_bad_input(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    refused(*arguments, capsys=capsys)


@pytest.mark.parametrize("command", ["runs", "show", "logs", "get", "stop", "redrive", "redo", "pause", "resume"])
def test_where_there_is_no_twin_every_command_says_how_to_start_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {"runs": [], "get": ["latest", "--out", str(tmp_path / "out")]}.get(command, ["latest"])

    assert "tilery up --root" in refused(command, *extra, "--root", str(tmp_path / "none"), capsys=capsys)


@pytest.mark.parametrize(
    "command", ["run", "up", "verify", "drop", "get", "runs", "show", "logs", "stop", "redrive", "redo", "pause", "resume"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["runs", "show", "logs"])
def test_every_listing_command_has_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    invoke([command, "--help"])

    assert "--json" in capsys.readouterr().out


RUNS = [
    {"run_id": "ab12" + "0" * 60, "workload": "sums", "dataset": "b", "status": "RUNNING"},
    {"run_id": "ab34" + "0" * 60, "workload": "sums", "dataset": "a", "status": "FAILED"},
    {"run_id": "cd56" + "0" * 60, "workload": "sums", "dataset": "a", "status": "SUCCEEDED"},
]


@pytest.mark.parametrize(
    ("text", "run"),
    [("ab12", 0), ("cd56" + "0" * 60, 2), ("sums/a", 1), ("a", 1), ("latest", 0), ("cd560000", 2)],
)
def test_a_run_is_found_by_what_people_call_it(text: str, run: int) -> None:
    assert choose(RUNS, text, "local") is RUNS[run]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("ab1", "there is no run 'ab1'"), ("ffff", "the newest are ab120000"), ("sums/c", "there is no run")],
)
def test_a_run_that_is_not_there_is_answered_with_those_that_are(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        choose(RUNS, text, "local")


def test_digits_that_fit_two_runs_are_refused_with_both() -> None:
    twins = [{**RUNS[0], "run_id": "abcd1" + "0" * 59}, {**RUNS[1], "run_id": "abcd2" + "0" * 59}]

    with pytest.raises(BadInput, match="2 runs start with abcd: abcd1000, abcd2000; give more digits"):
        choose(twins, "abcd", "local")


def test_a_stack_means_aws_and_a_root_the_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILERY_ROOT", raising=False)

    assert isinstance(find("tilery-dev", None), StackTarget)
    assert isinstance(find("", tmp_path), TwinTarget)
    with pytest.raises(BadInput, match="not both"):
        find("tilery-dev", tmp_path)


def test_the_folder_of_a_finished_run_may_be_named_as_root(tmp_path: Path) -> None:
    (tmp_path / ".tilery" / "twin").mkdir(parents=True)

    assert twin_root(tmp_path) == tmp_path / ".tilery"
    assert twin_root(tmp_path / ".tilery") == tmp_path / ".tilery"


def test_a_twin_that_died_is_not_taken_for_running(tmp_path: Path) -> None:
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": 2**22 - 3}))

    assert not TwinTarget(tmp_path).reachable()


def test_a_process_that_has_a_dead_twins_id_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "endpoint.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": os.getpid()}))

    assert not TwinTarget(tmp_path).reachable()


def test_products_of_an_earlier_run_below_an_input_folder_are_no_input(numbers: Path) -> None:
    products = numbers.parent / "out"
    products.mkdir()
    (products / "sums.txt").write_text("14\n")

    assert [file.name for file in request("sums", [numbers.parent], [], "local", products=products).files] == ["one.txt"]
    assert len(request("sums", [products], [], "local", products=products).files) == 1


def test_a_name_that_is_not_utf8_is_one_sentence(numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = numbers.with_name("bad\udcff.txt")
    bad.write_text("1\n")

    assert "not valid UTF-8" in refused("run", "sums", str(bad), "--out", str(tmp_path / "out"), capsys=capsys)


def test_a_place_that_cannot_be_written_is_one_sentence(numbers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "sums", str(numbers), "--out", "/proc/nowhere"]) == 1
    said = capsys.readouterr().err
    assert "/proc/nowhere" in said
    assert "Traceback" not in said
