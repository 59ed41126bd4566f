"""Figures quoted in the README and the data card stand in the file they came from."""
import re

import pytest
from conftest import REPOSITORY

README, CARD = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "data/README.md"))


def scores(text):
    """All numbers with two or three decimals."""
    return set(re.findall(r"(?<![\w.,])\d\.\d{2,3}(?![\w.]*\d)", text))


def rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


@pytest.fixture(scope="module")
def stored(notebook):
    """All texts that the stored notebook shows."""
    return "\n".join(str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
                     for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


def test_scores_are_found_in_a_text():
    assert scores("0.391 (0.308 to 0.47), -1 of 1.2.3, 5e-5, 3.11, 12.345") == {"0.391", "0.308", "0.47", "3.11"}


def test_scores_of_the_stored_notebook_stand_in_it(stored):
    of_notebook = [row for row in rows(README) if "the stored notebook" in row]
    assert of_notebook
    assert set().union(*map(scores, of_notebook)) - scores(stored) == set()


def test_the_training_time_of_the_stored_notebook_stands_in_it(stored):
    minutes, seconds = divmod(round(float(re.search(r"epoch 4 .* seconds ([\d.e+]+)", stored)[1])), 60)
    of_notebook = [row for row in rows(README) if "the stored notebook" in row]
    assert sum(f"{minutes} min {seconds} s" in row for row in of_notebook) == 1


def test_scores_of_the_card_for_the_stored_seed_stand_in_the_notebook(stored):
    table = [row for row in rows(CARD) if re.match(r"\| (in-domain dev|out-of-domain) \| \*?\*?\d\.\d{3}", row)]
    assert len(table) == 2
    assert set().union(*(scores(row.split("|")[2]) for row in table)) - scores(stored) == set()


def test_scores_in_the_prose_of_the_readme_stand_in_a_table_or_the_notebook(stored):
    """The paragraph on how the default was chosen is itself the record of its runs."""
    known = scores(stored) | set().union(*map(scores, rows(README) + rows(CARD)))
    prose = [text for text in README.split("\n\n")
             if not text.startswith(("|", "```", "**How the default was chosen")) and "MCC" in text]
    assert prose
    assert {text[:40]: scores(text) - known for text in prose if scores(text) - known} == {}


def test_counts_in_the_readme_stand_in_the_card():
    """The tests of the corpus compare those of the card with the corpus."""
    counts = set(re.findall(r"\b\d{1,3}(?:,\d{3})+\b", README))
    assert counts and counts - set(re.findall(r"\b\d{1,3}(?:,\d{3})+\b", CARD)) == set()
