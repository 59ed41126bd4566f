"""Figures quoted in the README, the data card and the notebook's section on many runs stand in the file they came from."""
import re

import benchmark
import pandas as pd
import pytest
from conftest import REPOSITORY
from sklearn.metrics import matthews_corrcoef
from test_experiments import run_experiments
from test_free_arithmetic import DEV, OUT_OF_DOMAIN, RUNS, moves

README, CARD = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "data/README.md"))
# What the project set out to reach; each stands beside the word "goal".
GOALS = {"0.80", "0.45", "0.25", "0.20", "0.40", "0.33"}


def scores(text):
    """All numbers with two or three decimals, with their sign."""
    text = text.replace("−", "-")
    return set(re.findall(r"(?:(?<![\w.,)])-)?(?<![\w.,])\d\.\d{2,3}(?![\w.]*\d)", text))


def without_other_numbers(text):
    """The text without addresses, versions, a setting of AdamW, and names of runs."""
    return re.sub(r"https?://\S+|(?:Python|SciPy|py) -?[\d.]+|β₂ = [\d.]+|share-[\d.]+", "", text)


def rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.fixture(scope="module")
def stored(notebook):
    """All texts that the stored notebook shows."""
    return "\n".join(str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
                     for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


@pytest.fixture(scope="module")
def recorded():
    """All scores of the recorded runs, and their means: over all seeds of a change, and over its first three.

    And those of the benchmark's trainings.
    """
    runs = pd.read_csv(run_experiments.RESULTS)
    columns = ["dev MCC", "test MCC", "CoLA MCC"]
    first = runs[runs["seed"] <= 3]
    means = [some.groupby(["corpus", "change"])[columns].mean() for some in (runs, first)]
    of_runs = {f"{value:.3f}" for table in (runs[columns], *means) for value in table.to_numpy().flat}
    return of_runs | scores(benchmark.table("quality"))


def test_scores_are_found_in_a_text():
    text = "0.391 (0.308 to -0.47), −0.02, 0.1-0.25, -1 of 1.2.3, 5e-5, 3.11, 12.345"
    assert scores(text) == {"0.391", "0.308", "-0.47", "-0.02", "0.25", "3.11"}


def test_scores_of_the_stored_notebook_stand_in_it(stored):
    of_notebook = [row for row in rows(README) if "the stored notebook" in row]
    assert of_notebook
    assert set().union(*map(scores, of_notebook)) - scores(stored) == set()


def test_training_times_of_the_stored_notebook_stand_in_it(stored):
    of_notebook = [row.split("|")[5].strip() for row in rows(README) if "the stored notebook" in row]
    times = [re.fullmatch(r"(?:(\d+) min )?(\d+) s", time) for time in of_notebook if time != "–"]
    assert len(times) == len(of_notebook) - 1
    shown = {int(seconds) for seconds in re.findall(r"\b(\d+) s\b", stored)}
    assert {60 * int(time[1] or 0) + int(time[2]) for time in times} <= shown


def test_the_time_of_the_first_epoch_stands_in_the_notebook(stored):
    first = re.search(r"fine-tuned: as good as random weights at best after (\d+) seconds", stored)[1]
    assert f"after its first epoch, {first} seconds" in README


def test_published_scores_carry_their_source():
    published = [row for row in rows(README) if "published:" in row]
    assert published and all(re.search(r"published: \[.+\]\(https://", row) for row in published)


@pytest.mark.parametrize("text, mentions", [
    ("\n".join(line for line in README.splitlines() if "published:" not in line), 60),
    (re.sub(r"## What can be got from it.*?(?=\n## )", "", CARD, flags=re.DOTALL), 10),  # test_corpus computes those
], ids=["README", "data card"])
def test_all_other_scores_stand_in_the_notebook_or_among_the_recorded_runs(text, mentions, stored, recorded):
    # test_free_arithmetic measures that of the stored seed
    transfer = set().union(*(scores(row.split("|")[2]) for row in rows(CARD) if "1,043" in row))
    found = scores(without_other_numbers(text))
    assert len(found) >= mentions
    moved = {f"{moves(RUNS, columns):.3f}" for columns in (DEV, OUT_OF_DOMAIN)}  # under other arithmetic
    assert found - scores(stored) - recorded - transfer - moved - GOALS == set()


def test_goals_are_called_so():
    paragraphs = [paragraph for text in (README, CARD) for paragraph in without_other_numbers(text).split("\n\n")]
    assert [paragraph for paragraph in paragraphs if scores(paragraph) & GOALS and "goal" not in paragraph] == []


def test_scores_in_the_section_on_many_runs_are_those_of_recorded_runs(notebook, recorded):
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    start = next(number for number, text in enumerate(texts) if text.startswith("## 13"))
    end = next(number for number, text in enumerate(texts) if text.startswith("## 14"))
    found = set().union(*map(scores, texts[start:end]))
    assert len(found) >= 10 and found - recorded == set()


def test_scores_of_the_card_for_the_stored_seed_stand_in_the_notebook(stored):
    table = [row for row in rows(CARD) if re.match(r"\| (in-domain dev|out-of-domain) \| \*?\*?\d\.\d{3}", row)]
    assert len(table) == 2
    assert set().union(*(scores(row.split("|")[2]) for row in table)) - scores(stored) == set()


def test_mistakes_counted_in_the_card_give_the_scores_of_the_notebook(stored):
    found, faults, condemned, good = map(int, re.search(
        r"finds (\d+) of the (\d+) faults .* condemns (\d+) of the (\d+) good", CARD).groups())
    labels = [0] * faults + [1] * good
    verdicts = [0] * found + [1] * (faults - found) + [0] * condemned + [1] * (good - condemned)
    assert f"out-of-domain MCC {matthews_corrcoef(labels, verdicts):.3f}," in stored
    assert f"{(found + good - condemned) / (faults + good):.3f}" in stored
    assert f"({found / faults:.0%})".replace("%", " %") in CARD and f"({condemned / good:.0%})".replace("%", " %") in CARD


def test_the_readme_says_how_many_runs_are_made_and_which_are_not():
    listed, made = run_experiments.all_runs(), run_experiments.recorded()
    missing = [name.split("/")[1] for name in listed if name not in made]
    shares = sum(change.startswith("random-weights-share") for change in missing)
    changes = sum(change in ("dropout-0.1", "padded-left", "top-layer-fresh", "first-layer-frozen", "with-blac", "after-blac")
                  for change in missing)
    assert shares + changes == len(missing)
    all_or_some = f"{len(made)} of the {len(listed)}" if missing else f"All {len(made)}"
    assert f"{all_or_some} runs on the list are made" in README
    assert f"random weights on shares of the data ({shares} runs)" in README or not shares
    assert f"both corpora together among them ({changes} runs)" in README or not changes


def test_counts_in_the_readme_stand_in_the_card():
    """The tests of the corpus compare those of the card with the corpus."""
    counts = set(re.findall(r"\b\d{1,3}(?:,\d{3})+\b", README))
    assert counts and counts - set(re.findall(r"\b\d{1,3}(?:,\d{3})+\b", CARD)) == set()
