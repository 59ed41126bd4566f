"""Where the notebook runs, what it touches there, and what is left when it is interrupted."""
import getpass
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
import transformers
from conftest import NOTEBOOK, REPOSITORY, copy_recorded_runs
from notebook_cells import programs_of_notebook

OUTDATED = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
TEMPORARY = Path(tempfile.gettempdir())
CACHES = [Path.home() / name for name in (".cache", ".config/matplotlib", ".ipython", ".matplotlib")]
CACHES += [TEMPORARY / f"torchinductor_{getpass.getuser()}"]  # where torch keeps what it compiles


def started(place, corpus, *watch, **settings):
    """The notebook's cells, running as a process in the folder `place`."""
    own = {"CORPUS": str(corpus), "MODEL_FOLDER": "model", "PICTURES_FOLDER": "pictures", "MPLBACKEND": "agg",
           "PYTHONWARNINGS": ",".join(f"error::{kind}:__main__" for kind in OUTDATED),  # from our own code only
            "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    environment = os.environ | own | settings
    # as in the README's command; the first is the tests' own, the second is left by torch in their process
    for name in ("HF_HUB_OFFLINE", "TORCHINDUCTOR_CACHE_DIR"):
        environment.pop(name, None)
    return subprocess.Popen([sys.executable, REPOSITORY / "tests" / "run_cells.py", NOTEBOOK, *watch], cwd=place,
                            text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def watched(tmp_path_factory, small_corpus):
    """The place, what a whole run in it printed, and its events: (kind, what) each. A second run goes on beside it."""
    place, report = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("report") / "watch"
    copy_recorded_runs(place)
    each = {"OMP_NUM_THREADS": "1"}  # so that two cores are enough for both
    run, beside = started(place, small_corpus, report, EPOCHS="1", **each), started(place, small_corpus, EPOCHS="2", **each)
    printed, printed_beside = (one.communicate(timeout=600)[0] for one in (run, beside))
    assert run.returncode == 0, printed[-2000:]
    assert beside.returncode == 0, printed_beside[-2000:]
    return place, printed, [line.split("\t", 1) for line in report.read_text().splitlines()]


def test_nothing_is_written_outside_the_place_and_the_caches(watched):
    """As far as Python sees it: the library that writes safetensors opens its files past Python's audit hook."""
    place, _, events = watched
    written = {Path(what) for kind, what in events if kind in ("open", "os.mkdir", "os.rename")}
    assert any(path.is_relative_to(place / "pictures") for path in written)
    # with these, Python finds out whether it may write to the folder for temporary files
    probes = {Path(what) for kind, what in events if kind == "os.remove" and Path(what).parent == TEMPORARY}
    assert {path for path in written - probes if not path.is_relative_to("/dev")
            and not any(path.is_relative_to(allowed) for allowed in [place, *CACHES])} == set()


def test_a_warning_that_our_code_is_outdated_would_have_ended_the_run(tmp_path, monkeypatch):
    for module, status in (("__main__", 1), ("a_library", 0)):
        cell = f"import warnings\nwarnings.warn_explicit('old', DeprecationWarning, 'cell', 1, module='{module}')"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), tmp_path / "old.ipynb")
        monkeypatch.setattr("test_place.NOTEBOOK", tmp_path / "old.ipynb")
        run = started(tmp_path, "none")
        printed = run.communicate(timeout=60)[0]
        assert run.returncode == status, printed


def test_only_what_the_settings_name_is_left_in_the_place(watched):
    assert {path.name for path in watched[0].iterdir()} == {"data", "model", "pictures"}


def test_two_runs_at_once_in_one_place_leave_a_whole_model(watched):
    judged = transformers.pipeline("text-classification", model=str(watched[0] / "model"))("The ice melted.")
    assert judged[0]["label"] in ("acceptable", "unacceptable")


def test_no_connection_is_made_and_no_name_looked_up(watched):
    assert [event for event in watched[2] if event[0].startswith("socket.") and "127.0.0.1" not in event[1]] == []


def test_no_pickle_is_read(watched):
    assert [event for event in watched[2] if event[0] == "pickle.find_class"] == []


def test_a_connection_and_a_pickle_would_have_been_noted(tmp_path, monkeypatch):
    cell = """import pickle, socket
with socket.socket() as one:
    one.connect_ex(("127.0.0.1", 9))
pickle.loads(pickle.dumps(socket.socket))"""
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), tmp_path / "both.ipynb")
    monkeypatch.setattr("test_place.NOTEBOOK", tmp_path / "both.ipynb")
    assert started(tmp_path, "none", tmp_path / "watch").wait(timeout=60) == 0
    noted = {line.split("\t")[0] for line in (tmp_path / "watch").read_text().splitlines()}
    assert {"socket.connect", "pickle.find_class"} <= noted


def test_repeated_rows_are_told(watched):
    counts = next(block for block in watched[1].split("Out[") if "repeated" in block)
    assert [line.split()[-1] for line in counts.splitlines() if line.split()[:1] in (["train"], ["dev"], ["test"])] == ["1"] * 3


def test_telemetry_is_off_before_the_hub_is_imported(notebook):
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    program = f"{first}\nfrom huggingface_hub import constants\nprint(constants.HF_HUB_DISABLE_TELEMETRY)"
    without = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name and name != "DO_NOT_TRACK"}
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=without).stdout == "True\n"


@pytest.mark.parametrize("name", ["train.py", "stream.py"])
def test_telemetry_is_off_in_the_programs(notebook, name):
    source = programs_of_notebook(notebook)[name]
    first = source[:source.index("import transformers")]  # what it does before
    program = f"{first}\nfrom huggingface_hub import constants\nprint(constants.HF_HUB_DISABLE_TELEMETRY)"
    without = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name and name != "DO_NOT_TRACK"}
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=without).stdout == "True\n"


def test_an_interrupted_training_leaves_the_best_epoch_usable(tmp_path, small_corpus, definitions):
    run = started(tmp_path, small_corpus, EPOCHS="100")
    until_then = ""
    for line in run.stdout:
        until_then += line
        if line.lstrip("\r ").startswith("epoch 2"):
            run.send_signal(signal.SIGINT)
            break
    rest = run.communicate(timeout=300)[0]
    assert run.returncode == 1 and "KeyboardInterrupt" in rest
    assert {path.name for path in tmp_path.iterdir()} <= {"model", "pictures"}
    judged = transformers.pipeline("text-classification", model=str(tmp_path / "model"))("The ice melted.")
    assert judged[0]["label"] in ("acceptable", "unacceptable")
    model = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    dev = definitions.read_corpus(small_corpus)["dev"]
    kept = definitions.score(dev["label"], definitions.predict(model, definitions.encode(dev["sentence"], tokenizer), tokenizer))
    printed = re.findall(r"epoch \d+ .*dev MCC (-?[\d.e-]+)", until_then + rest)
    assert kept["MCC"] >= max(map(float, printed)) - 0.001  # printed with three digits
