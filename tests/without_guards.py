"""Take out one guard of the notebook at a time, and see that a test notices: python tests/without_guards.py [WORD ...]

A guard is what keeps a bad file, a broken download or a wrong setting from doing harm. Each of those below is taken out
alone, in a temporary copy of the repository: a text in a cell of the notebook is replaced by one without the guard. The
tests that are named beside it must pass before, and at least one of them must fail then. With words, only the guards are
tried in whose names one of them occurs. A line a guard is printed: what it guards, its name, its tests (as for pytest's
option -k), and whether it was seen. The exit status is 1 if one was not, or if a text is not in the notebook exactly once.
This program is for contributors, pytest does not run it; it takes about eight minutes.
"""
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = "BERT_Fine_Tuning_Sentence_Classification.ipynb"
UNTIL = "epoch_ends ="  # so begins the last cell that has a guard and is run by tests/run_cells.py, which ends there
COPIED = sys.platform == "linux"  # a process starts as a copy of this one, with the libraries that take long to load
LIBRARIES = ["torch", "pandas", "pooch", "seaborn", "scipy.stats", "sklearn.linear_model", "transformers.pipelines",
             "transformers.models.bert.modeling_bert"]


class Guard(NamedTuple):
    """A text of the notebook, what is there in its place without the guard, and the tests that notice."""

    name: str
    old: str
    new: str
    tests: str
    waits: bool = False  # without it the tests do nothing but wait for a minute: they may do so beside others


DOWNLOAD, ARCHIVE, ROW = "leaves_nothing_behind and ", "a_broken_zip and ", "refused_by_file_and_line and "
ENCODER, SETTING, PROGRAM = "cannot_be_trained and ", "a_bad_setting_is_refused and ", "a_bad_row_is_refused_and_named and "
CHECKSUM = "pooch.retrieve(url, sha256, "
ANSWERS = 'require(is_reachable(url), f"no answer from {url} within 5 seconds", OSError)'
IN_TIME = 'require(timeit.default_timer() < end, f"{url} sends too slowly: not whole after {seconds} seconds", OSError)'
WHOLE_CORPUS = """with remedy(f"{path}: not whole, or not in CoLA's format", "Mend it, or fetch it again.", ValueError):"""
WHOLE_BERT = 'with remedy(f"ENCODER={name} is no whole BERT in safetensors", "Take another, such as minilm.", ValueError):'
OWN_FOLDER = 'with remedy(f"{data.resolve()} lacks {file_name}", "Start the notebook in its own folder."):'
COLA = 'with remedy("CoLA is not to be had", "Fetch it elsewhere and name the file in CORPUS."):'
NOT_WRITTEN = 'with remedy(f"{folder} was not written", "Make room, or name another in MODEL_FOLDER."):'
COLUMNS, EMPTY = 'lines.str.count("\\t") != len(columns) - 1', 'table["sentence"].str.strip() == ""'
LABELS, UNREADABLE = '~table["label"].isin(["0", "1"])', r'"\0|\ufffd"'
CUT, WORDS = "ids if len(ids) <= max_length else ids[:max_length - 1] + ids[-1:]", "isinstance(text, str) and text.strip()"
MEMORY = '@remedy("Out of memory", "Restart: smaller BATCH_SIZE, ENCODER or PRECISION=bf16.", MemoryError, "of memory|allocate")'

# What libraries do is not here: requests counts the bytes of a connection that is cut half-way (what must not be left
# behind then is here), zipfile compares the checksums of members. Nor are quotes in a table, which nothing interprets.
GUARDS = {
    "download": [
        Guard("404", "        answer.raise_for_status()\n", "", DOWNLOAD + "404"),
        Guard("500", "        answer.raise_for_status()\n", "", DOWNLOAD + "500"),
        Guard("log-in page for a zip", CHECKSUM, "pooch.retrieve(url, None, ", DOWNLOAD + "log-in"),
        Guard("cut half-way, nothing left", f"return Path({CHECKSUM}Path(url).name, folder, downloader=fetch))",
              "path = Path(folder) / Path(url).name\n    fetch(url, path, None)\n    return path", DOWNLOAD + "half-way"),
        Guard("next run heals", CHECKSUM, "pooch.retrieve(url, None, ", "a_kept_file_that_is_not_whole"),
        Guard("a byte a second", IN_TIME, "", "sends_a_byte_a_second", waits=True),
        Guard("stalls half-way", "web.get(url, timeout=10, ", "web.get(url, ", "stalls_half_way", waits=True),
        Guard("silent server", ANSWERS, "", "a_silent_server_is_given_up"),
        Guard("silent server at the end", "web.head, url, timeout=seconds", "web.head, url", "leaves_no_thread"),
        Guard("no DNS", "wait([asked], seconds)", "wait([asked])", "a_name_look_up_that_hangs", waits=True),
        Guard("no route", " and not asked.exception()", "", "no_server_is_noticed"),
        Guard("bundled corpus instead", "OSError as error:\n            return", "KeyError as error:\n            return",
              "auto_falls_back"),
    ],
    "archive": [
        Guard("no zip", WHOLE_CORPUS, "if True:", ARCHIVE + "all"),
        Guard("zip cut short", WHOLE_CORPUS, "if True:", ARCHIVE + "short"),
        Guard("missing member", WHOLE_CORPUS, "if True:", ARCHIVE + "lacks"),
        Guard("member outside by ..", ' or ".." in m.filename', "", "members_that_lead_out"),
        Guard("member outside by /", ' or m.filename.startswith("/")', "", "members_that_lead_out"),
        Guard("unpacks to gigabytes", "m.file_size > 10**8 or ", "", "unpacks_to_too_much"),
    ],
    "table": [
        Guard("three columns", COLUMNS, "False", ROW + "three"),
        Guard("five columns", COLUMNS, "False", ROW + "five"),
        Guard("label 2", LABELS, "False", ROW + "2"),
        Guard("label yes", LABELS, "False", ROW + "yes"),
        Guard("empty sentence", EMPTY, "False", ROW + "empty"),
        Guard("sentence of spaces", EMPTY, EMPTY.replace(".str.strip()", ""), ROW + "spaces"),
        Guard("Windows line ends", r'.str.removesuffix("\r")', "", "whatever_wrote_it and Windows"),
        Guard("byte-order mark", '"utf-8-sig"', '"utf-8"', "whatever_wrote_it and BOM"),
        Guard("Latin-1", UNREADABLE, r'"\0"', ROW + "Latin-1"),
        Guard("Latin-1 told", ', errors="replace"', "", "latin_1_is_told"),
        Guard("NUL", UNREADABLE, r'"\ufffd"', ROW + "NUL"),
        Guard("no final newline", r'.removesuffix("\n").split', "[:-1].split", "whatever_wrote_it and final"),
        Guard("repeated rows told", ', "repeated": table["sentence"].duplicated().sum()', "", "repeated_rows_are_told"),
        Guard("repeated rows kept", '.get("source", where)).reset_index(drop=True)', '.get("source", where)).drop_duplicates()',
              "repeated_rows_are_kept"),
        Guard("one class", 'table["label"].nunique() == 2', "True", "a_part_with_one_label_only"),
        Guard("one class in a table", 'sum(table["label"].value_counts() >= 10) == 2', "True", "too_few_sentences_of_a_label"),
    ],
    "encoder": [
        Guard("no weights", WHOLE_BERT, "if True:", ENCODER + "without_weights"),
        Guard("another hash", 'pooch.file_hash(folder / "model.safetensors") != MINILM_SHA256', "False", "altered_weights"),
        Guard("pickle", "add_pooling_layer=False, use_safetensors=True,", "add_pooling_layer=False,", ENCODER + "pickled"),
        Guard("another architecture", 'config.model_type == "bert"', "True", "a_model_that_is_no_bert"),
        Guard("another vocabulary size", "0 <= size - tokens", "size - tokens", ENCODER + "another_vocabulary"),
        Guard("no tokenizer", "size - tokens < 128", "size - tokens", ENCODER + "without_tokenizer"),
        Guard("tokenizer does not match", "own.pad_token_id == config.pad_token_id", "True", ENCODER + "of_another_model"),
        Guard("weights of another size", ' | report["mismatched_keys"]', "", ENCODER + "of_another_size"),
        Guard("a layer lacks", 'report["missing_keys"] | ', "", ENCODER + "lacking_a_layer"),
        Guard("no network", "if not Path(name).is_dir() and not is_reachable(hub_url):", "if False:", "an_unknown_name_without"),
        Guard("unknown corpus", "elif not Path(name).exists():", "elif False:", "unknown_corpus_is_refused"),
    ],
    "settings": [
        Guard("epochs 0", '"epochs": pd.Interval(0, 100), ', "", SETTING + "EPOCHS-0"),
        Guard("epochs 1.5", " or kind(value) != value", "", SETTING + "EPOCHS-1.5"),
        Guard("batch size 0", '"batch_size": pd.Interval(0, 1024), ', "", SETTING + "BATCH_SIZE-0"),
        Guard("negative learning rate", '"learning_rate": pd.Interval(0, 1, "left"), ', "", SETTING + "LEARNING_RATE--1"),
        Guard("unknown name", "set(environment).difference(known)", "()", "a_misspelt_setting_is_refused"),
        Guard("device not there", " if getattr(torch, k).is_available()", "", "a_device_that_is_not_there"),
        Guard("bad precision", '"precision": ["auto", "fp32", "bf16", "fp16"],', "", SETTING + "fp8"),
    ],
    "training": [
        Guard("NaN loss", "may_ask and not loss.isfinite()", "False", "stops_training_at_its_step"),
        Guard("NaN loss, the step", " - sum(not earlier.isfinite() for earlier in losses)", "", "seen_in_the_last_step"),
        Guard("NaN loss on a GPU", " or members is batches[-1]", "", "seen_in_the_last_step"),
        Guard("out of memory", MEMORY, "", "test_memory_that_runs_out"),
        Guard("not out of memory", ', "of memory|allocate"', "", "not_taken_for_lack_of_memory"),
        Guard("memory, but not lack of it", '"of memory|allocate"', '"memory"', "messages_of_gpus"),
        Guard("interrupt", "if folder:\n", "if folder and epoch == settings.epochs:\n", "an_interrupted_training"),
        Guard("best epoch", 'if dev["MCC"] > best_mcc:', "if True:", "weights_of_the_best_epoch"),
        Guard("NaN probabilities", "np.isfinite(probabilities).all()", "True", "weights_spoiled_by_the_last_step"),
    ],
    "prediction": [
        Guard("empty string", WORDS, "isinstance(text, str)", "judge_names_the_sentence"),
        Guard("only spaces", WORDS, "isinstance(text, str) and text", "judge_names_the_sentence"),
        Guard("number", WORDS, "text.strip()", "judge_names_the_sentence"),
        Guard("list", "{text!r:.60}", "{text!r}", "judge_keeps_its_message_short"),
        Guard("10,000 words", CUT, "ids", "judge_cuts_ten_thousand_words"),
        Guard("10,000 sentences", "range(batch_size, len(order), batch_size)", "[]", "judge_takes_ten_thousand_sentences"),
    ],
    "place": [
        Guard("another folder: corpus", OWN_FOLDER, "if True:", "bundled_files_that_cannot_be_had"),
        Guard("another folder: runs", '"Start the notebook in its own folder, or go on without it."', '""',
              "recorded_runs_that_cannot_be_had and missing"),
        Guard("read-only data", COLA, "if True:", "a_folder_that_cannot_be_written_to"),
        Guard("read-only model folder", NOT_WRITTEN, "if True:", "a_folder_where_nothing_may_be_written"),
        Guard("two runs at once", 'while Path(f"{temporary}/new").exists():', "if True:", "another_run_puts_there_meanwhile"),
        Guard("no disk space", 'part.save_pretrained(f"{temporary}/new")', "part.save_pretrained(folder)", "no_disk_space"),
        Guard("only https", 'del web.adapters["http://"]', "", DOWNLOAD + "http"),
        Guard("no remote code", "trust_remote_code=False", "trust_remote_code=True", "code_that_comes_with_an_encoder"),
        Guard("no telemetry", 'os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"', "", "telemetry_is_off"),
        Guard("nothing outside", 'Path(settings.pictures_folder) / "training_log.png"', '"../training_log.png"',
              "nothing_is_written_outside"),
    ],
    "programs": [
        Guard("train.py label", 'not table["label"].isin([0, 1]).all() or ', "", PROGRAM + "train.py and label"),
        Guard("train.py columns", ' or not table["sentence"].fillna("").all()', "", PROGRAM + "train.py and three"),
        Guard("train.py telemetry", '["HF_HUB_DISABLE_TELEMETRY"] = "1"  # nobody is told what runs here\nimport pandas',
              '["UNUSED"] = "1"\nimport pandas', "telemetry_is_off_in_the_programs and train.py"),
        Guard("stream.py telemetry", '["HF_HUB_DISABLE_TELEMETRY"] = "1"  # nobody is told what runs here\nimport psutil',
              '["UNUSED"] = "1"\nimport psutil', "telemetry_is_off_in_the_programs and stream.py"),
        Guard("stream.py label", ' or row[1] not in ("0", "1")', "", PROGRAM + "stream.py and label"),
        Guard("stream.py columns", "len(row) != 4 or ", "", PROGRAM + "stream.py and three"),
        Guard("train.py pickle", "use_safetensors=True, hidden_dropout_prob=dropout", "hidden_dropout_prob=dropout",
              "only_safetensors_are_read and train.py"),
        Guard("stream.py pickle", "use_safetensors=True, hidden_dropout_prob=0.0", "hidden_dropout_prob=0.0",
              "only_safetensors_are_read and stream.py"),
        Guard("train.py quotes", ", quoting=csv.QUOTE_NONE", "", "quotes_and_the_word_na"),
        Guard("train.py NA", ", keep_default_na=False", "", "quotes_and_the_word_na"),
    ],
}
PASSED, FAILED, SKIPPED, BROKEN = range(4)  # what becomes of tests
VERDICTS = ["NOT SEEN", "seen", "skipped here", "NOT SEEN: no such test, or an error before it"]


class Outcomes(set):
    """A plugin of pytest: the outcomes of the tests' parts."""

    def pytest_runtest_logreport(self, report):
        self.add((report.when, report.outcome))


def run_tests(place, tests):
    """End this process with what becomes of the tests in the copy `place`; what pytest prints goes to a file there."""
    os.chdir(place)
    with open("printed.txt", "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    outcomes, files = Outcomes(), [f"tests/test_{name}.py" for name in ("functions", "downloads", "place", "scaling")]
    pytest.main(["-q", "-x", "-p", "no:nbval", "-o", "addopts=", "-c", ".pytest.ini", "--rootdir", ".", "--basetemp", "temporary",
                 "-k", tests, *files], plugins=[outcomes])
    if not outcomes or outcomes & {("setup", "failed"), ("teardown", "failed")}:
        sys.exit(BROKEN)
    sys.exit(FAILED if ("call", "failed") in outcomes else PASSED if ("call", "passed") in outcomes else SKIPPED)


def started(place, tests):
    """A process that runs the tests in the copy `place`."""
    process = multiprocessing.get_context("fork" if COPIED else "spawn").Process(target=run_tests, args=(place, tests))
    process.start()
    return process


def without(guard, original, place):
    """A process that runs the tests of the guard without it, in a new copy `place`; None if its text is not there once."""
    notebook = nbformat.read(original / NOTEBOOK, as_version=4)
    if "".join(cell.source + "\0" for cell in notebook.cells).count(guard.old) != 1:
        return None
    for cell in notebook.cells:
        cell.source = cell.source.replace(guard.old, guard.new)
    shutil.copytree(original, place, ignore=shutil.ignore_patterns("temporary"))
    nbformat.write(notebook, place / NOTEBOOK)
    return started(place, guard.tests)


def main(words):
    """Try the guards in whose names one of the words occurs; whether all were seen."""
    chosen = [(row, guard) for row, guards in GUARDS.items() for guard in guards if any(word in guard.name for word in words)]
    if not chosen:
        sys.exit("There is no guard of such a name.")
    for name in LIBRARIES if COPIED else []:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as temporary:
        original, is_good = Path(temporary) / "original", True
        shutil.copytree(REPOSITORY, original, ignore=shutil.ignore_patterns(".git", "__pycache__", "fine_tuned_model"))
        untouched = started(original, " or ".join(dict.fromkeys(f"({guard.tests})" for _, guard in chosen)))
        untouched.join()
        if untouched.exitcode not in (PASSED, SKIPPED):
            print("The tests do not pass with all guards in place:", (original / "printed.txt").read_text()[-2000:], sep="\n")
            return False
        places = {guard: Path(temporary) / str(number) for number, (_, guard) in enumerate(chosen)}
        waiting = {guard: without(guard, original, places[guard]) for guard in places if guard.waits}
        for row, guard in sorted(chosen, key=lambda pair: pair[1].waits):
            process = waiting[guard] if guard.waits else without(guard, original, places[guard])
            verdict = "ITS TEXT IS NOT THERE EXACTLY ONCE"
            if process:
                process.join()
                verdict = VERDICTS[process.exitcode] if process.exitcode in range(4) else f"ended with {process.exitcode}"
                shutil.rmtree(places[guard])
            is_good &= verdict in ("seen", "skipped here")
            print(f"{row:<11} {guard.name:<27} {guard.tests:<54} {verdict}", flush=True)
    return is_good


if __name__ == "__main__":
    os.environ.update(UNTIL=UNTIL, OMP_NUM_THREADS="1")
    sys.exit(not main(sys.argv[1:] or [""]))
