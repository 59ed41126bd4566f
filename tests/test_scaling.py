"""The two programs of section 14, as a reader saves them: the Trainer on two processes, a corpus that is streamed."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from conftest import REPOSITORY, copy_first_rows
from notebook_cells import memory_of_lists, programs_of_notebook, write_large_table
from safetensors.torch import load_file

ROWS, FEW = int(os.environ.get("ROWS", 1_000_000)), 40_000  # of the corpus that is streamed, and of four buffers
MEMORY_LIMIT = 30  # MiB that may be added when so many rows are streamed instead of few
TWO_PROCESSES = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                 "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


@pytest.fixture(scope="module")
def programs(notebook):
    return programs_of_notebook(notebook)


def answers(command, place, minilm, **settings):
    """What the program prints as JSON, one of its processes a line. Raises AssertionError with its last words."""
    environment = os.environ | {"ENCODER": str(minilm), "OMP_NUM_THREADS": "1"} | settings
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(report) for report in re.findall(r'\{".*?\}', run.stdout)]  # two may have met in one line


# --- the Trainer -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(programs, minilm, tmp_path_factory):
    """What one process and two report, and the folder of their models."""
    place = tmp_path_factory.mktemp("trainer")
    copy_first_rows(place, train=320, dev=60, test=60)
    (place / "train.py").write_text(programs["train.py"])
    commands = {"one": [sys.executable, "train.py"], "two": [*TWO_PROCESSES, "train.py"]}
    reports = {name: answers(command, place, minilm, CORPUS=".", OUTPUT=name, EPOCHS="2")
               for name, command in commands.items()}
    return reports, place


def test_two_processes_divide_the_sentences_of_every_step(trained):
    one, two = trained[0]["one"], trained[0]["two"]
    assert [(report["of"], report["steps"], report["sentences"]) for report in one] == [(1, 20, 640)]
    assert sorted((report["process"], report["of"], report["steps"], report["sentences"]) for report in two) == [
        (0, 2, 20, 320), (1, 2, 20, 320)]


def test_two_processes_end_with_the_weights_and_the_scores_of_one(trained, minilm):
    reports, place = trained
    one, two = (load_file(place / name / "model.safetensors") for name in ("one", "two"))
    encoder = load_file(minilm / "model.safetensors")
    moved = max((one[f"bert.{name}"] - before).abs().max() for name, before in encoder.items() if f"bert.{name}" in one)
    apart = max((weights - two[name]).abs().max() for name, weights in one.items())
    assert apart < 1e-4 < moved  # with other batches they would be as far apart as they have moved
    scores = [(report["dev MCC"], report["test MCC"]) for report in reports["one"] + reports["two"]]
    assert scores[0] == pytest.approx(scores[1], abs=0.05) and scores[1] == scores[2]


def test_the_recipe_is_the_default_of_the_notebook(programs, definitions, notebook):
    settings = definitions.Settings()
    rate = re.search(r"\((\d+e-\d+) if is_small", "".join(cell.source for cell in notebook.cells))[1]
    for part in (f'"LEARNING_RATE", {rate})', f"warmup_steps={settings.warmup_share}", "weight_decay=0.01",
                 f"per_device_train_batch_size={settings.batch_size},", f'"EPOCHS", {settings.epochs})',
                 f'"SEED", {settings.seed})', '"DROPOUT", 0)', "average_tokens_across_devices=False"):
        assert part in programs["train.py"]
    assert transformers.TrainingArguments("unused", use_cpu=True).max_grad_norm == 1.0
    assert transformers.TrainingArguments("unused", use_cpu=True).lr_scheduler_type == "linear"


# --- a corpus that is streamed ------------------------------------------------------------


@pytest.fixture(scope="module")
def streamed(programs, minilm, tmp_path_factory):
    """A place with the program and tables of few and of very many rows, and what was reported of each; the second is
    read by two processes at a time."""
    place = tmp_path_factory.mktemp("stream")
    (place / "stream.py").write_text(programs["stream.py"])
    write_large_table(place / "huge.tsv", ROWS)
    write_large_table(place / "few.tsv", FEW)
    command, common = [sys.executable, "stream.py"], os.environ | {"ENCODER": str(minilm), "TABLE": "huge.tsv"}
    few = answers(command, place, minilm, TABLE="few.tsv")
    runs = [subprocess.Popen(command, cwd=place, text=True, stdout=subprocess.PIPE,
                             env=common | {"RANK": rank, "WORLD_SIZE": "2", "RAYON_NUM_THREADS": "1"}) for rank in "01"]
    huge = [json.loads(run.communicate(timeout=900)[0].splitlines()[-1]) for run in runs]
    yield place, few, huge
    (place / "huge.tsv").unlink()


def test_every_row_is_read_once_by_one_of_two_processes(streamed):
    _, few, huge = streamed
    assert [report["rows"] for report in huge] == [ROWS // 2] * 2 and few[0]["rows"] == FEW


def test_memory_does_not_grow_with_the_file(streamed):
    """The same file read whole, before a single number is made of it, takes more than the limit."""
    place, few, huge = streamed
    assert max(report["memory MiB"] for report in huge) < few[0]["memory MiB"] + MEMORY_LIMIT
    if ROWS >= 1_000_000:
        assert memory_of_lists(place / "huge.tsv") > MEMORY_LIMIT


def test_batches_keep_to_the_budget_and_need_little_padding(streamed):
    for report in streamed[1] + streamed[2]:
        assert report["largest batch"] <= 512 and report["padded share"] <= 0.05


def test_the_seed_decides_the_order(programs, definitions, minilm):
    function = re.search(r"^def stream_batches.*?(?=^\S)", programs["stream.py"].split("\n\n\n", 1)[1] + "\n",
                         re.DOTALL | re.MULTILINE)[0]
    module = {}
    exec("import itertools, random\n" + function, module)
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    lines = (REPOSITORY / "data" / "in_domain_dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    first, again, other = (list(module["stream_batches"](iter(lines), tokenizer, 256, seed, buffer_size=200))
                           for seed in (1, 1, 2))
    assert first == again != other
    expected = sorted((tuple(ids), int(line.split("\t")[1])) for line, ids in
                      zip(lines, definitions.encode([line.split("\t")[3].strip() for line in lines], tokenizer)))
    assert sorted((tuple(ids), label) for batch in other for ids, label in batch) == expected
    assert max(len(batch) * max(len(ids) for ids, _ in batch) for batch in other) <= 256


def test_training_on_the_stream_lowers_the_loss(streamed, minilm):
    place = streamed[0]
    report, = answers([sys.executable, "stream.py"], place, minilm, TABLE="few.tsv", STEPS="25", OUTPUT="streamed")
    assert report["batches"] == 25 and len(report["first losses"]) == 20
    assert sum(report["last losses"]) / 20 < report["first losses"][0]
    before, after = (load_file(folder / "model.safetensors") for folder in (minilm, place / "streamed"))
    name = "embeddings.word_embeddings.weight"
    assert not before[name].equal(after[f"bert.{name}"])
    assert transformers.AutoTokenizer.from_pretrained(place / "streamed")("A cat.") == transformers.AutoTokenizer.from_pretrained(minilm)("A cat.")


# --- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train.py", "stream.py"])
@pytest.mark.parametrize("row", ["gb\t2\t\tThe cat sat.", "gb\t\t\tThe cat sat.", "gb\t1\tThe cat sat."],
                         ids=["label 2", "no label", "three columns"])
def test_a_bad_row_is_refused_and_named(programs, minilm, tmp_path, name, row):
    copy_first_rows(tmp_path, train=20)
    table = tmp_path / "in_domain_train.tsv"
    table.write_text(table.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    run = subprocess.run([sys.executable, "-c", programs[name]], cwd=tmp_path, capture_output=True, text=True, timeout=600,
                         env=os.environ | {"ENCODER": str(minilm), "CORPUS": ".", "OUTPUT": "model", "TABLE": table.name})
    culprit = "in_domain_train.tsv" if name == "train.py" else "The cat sat."
    assert run.returncode == 1 and not (tmp_path / "model").exists()
    assert culprit in (last := run.stderr.splitlines()[-1]) and "ValueError" in last and "4 columns are needed" in last


@pytest.mark.parametrize("name", ["train.py", "stream.py"])
def test_only_safetensors_are_read(programs, minilm, tmp_path, name):
    copy_first_rows(tmp_path, train=20)
    shutil.copytree(minilm, tmp_path / "pickled", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(minilm / "model.safetensors"), tmp_path / "pickled" / "pytorch_model.bin")
    run = subprocess.run([sys.executable, "-c", programs[name]], cwd=tmp_path, capture_output=True, text=True, timeout=600,
                         env=os.environ | {"ENCODER": "pickled", "CORPUS": ".", "OUTPUT": "model", "TABLE": "in_domain_train.tsv"})
    assert run.returncode == 1 and "model.safetensors" in run.stderr.splitlines()[-1]


def test_quotes_and_the_word_na_are_sentences_like_others(programs, minilm, tmp_path):
    copy_first_rows(tmp_path, train=20)
    with (tmp_path / "in_domain_train.tsv").open("a", encoding="utf-8") as file:
        file.writelines(f"gb\t1\t\t{sentence}\n" for sentence in ['"Quite so.', "NA", '"Stop", she said.'])
    report, = answers([sys.executable, "-c", programs["train.py"]], tmp_path, minilm, CORPUS=".", OUTPUT="model", EPOCHS="1")
    assert report["sentences"] == 23
    report, = answers([sys.executable, "-c", programs["stream.py"]], tmp_path, minilm, TABLE="in_domain_train.tsv")
    assert report["rows"] == 23
