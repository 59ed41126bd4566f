"""The table of recorded runs, the program that makes it, and the table of the README that is made from it."""
import subprocess
import sys

import pandas as pd
import pytest
import transformers
from conftest import REPOSITORY, copy_first_rows

sys.path.insert(0, str(REPOSITORY / "data"))
import run_experiments

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROGRAM = REPOSITORY / "data" / "run_experiments.py"


@pytest.fixture(scope="module")
def runs():
    return pd.read_csv(run_experiments.RESULTS)


def test_every_row_is_a_run_of_the_list_and_stands_there_once(runs):
    assert list(runs["run"]) == [name for name in run_experiments.all_runs() if name in set(runs["run"])]


def test_every_row_says_under_which_settings_it_was_made(runs):
    default = {"EPOCHS": 4, "LEARNING_RATE": 7e-5, "BATCH_SIZE": 32, "DROPOUT": 0, "TRAIN_SHARE": 1, "FROZEN_PARTS": 0}
    for _, row in runs.iterrows():
        settings = default | run_experiments.all_runs()[row["run"]]
        told = {name: row[name.lower()] for name in [*default, "SEED"]}
        assert told == pytest.approx({name: settings[name] for name in told})
        assert (row["weights"] == "random") == (settings.get("ENCODER") == "random")


def test_the_scores_are_scores_and_lie_in_their_intervals(runs):
    assert runs[["dev MCC", "test MCC", "test low", "test high"]].abs().max().max() <= 1
    assert (runs["test low"] <= runs["test MCC"]).all() and (runs["test MCC"] <= runs["test high"]).all()
    assert runs["test accuracy"].between(0, 1).all() and (runs["seconds"] > 0).all()
    assert runs.loc[runs["corpus"] == "BLAC", "CoLA MCC"].abs().max() <= 1  # told by the runs with the present corpus only
    assert runs[["device", "threads", "torch", "transformers", "date"]].notna().all().all()


def test_the_table_of_the_readme_is_made_from_it():
    assert run_experiments.table() in README


def test_a_run_writes_a_row_with_every_column(tmp_path, monkeypatch):
    """A real run, of the first rows of the corpus."""
    monkeypatch.setattr(run_experiments, "RESULTS", tmp_path / "experiments.csv")
    monkeypatch.setitem(run_experiments.CORPORA, "cola", ("CoLA", tmp_path))
    copy_first_rows(tmp_path)
    name = "cola/epochs-2-learning-rate-0.0002/seed-1"
    row = run_experiments.row_of(name, run_experiments.all_runs()[name], threads=1)
    run_experiments.keep(row)
    kept = pd.read_csv(tmp_path / "experiments.csv")
    assert list(kept.columns) == run_experiments.COLUMNS and kept.drop(columns="CoLA MCC").notna().all().all()
    assert kept.loc[0, ["run", "corpus", "epochs", "learning_rate", "training sentences", "threads"]].tolist() == [
        name, "CoLA", 2, 2e-4, 60, 1]


@pytest.mark.parametrize("change", ["random", "left", "fresh"])
def test_an_encoder_is_changed_as_its_name_says(tmp_path, minilm, change):
    folder = run_experiments.PREPARED[change](tmp_path, {"SEED": 1})
    whole = transformers.BertModel.from_pretrained(minilm).state_dict()
    changed = transformers.BertModel.from_pretrained(folder).state_dict()
    same = {name for name in whole if (whole[name] == changed[name]).all()}
    matrices = {name for name in whole if whole[name].ndim > 1}
    expected = {"random": set(), "left": matrices, "fresh": {name for name in matrices if ".layer.5." not in name}}
    assert same & matrices == expected[change]
    assert transformers.AutoTokenizer.from_pretrained(folder).padding_side == ("left" if change == "left" else "right")


def test_an_unknown_run_is_named():
    run = subprocess.run([sys.executable, PROGRAM, "cola/no-such/seed-1"], capture_output=True, text=True)
    assert run.returncode == 2 and "cola/no-such/seed-1: no such run" in run.stderr


def test_a_run_with_the_first_version_of_the_corpus_is_refused_with_the_way_to_it():
    run = subprocess.run([sys.executable, PROGRAM, "cola/with-blac-1/seed-1"], capture_output=True, text=True)
    assert run.returncode == 2 and "git log data/in_domain_train.tsv" in run.stderr
