import ast
import io
import re
import shutil
import tokenize
from collections import Counter
from urllib.parse import unquote

import nbclient
import nbformat
import pandas as pd
import pytest
import torch
import transformers
from conftest import NOTEBOOK, REPOSITORY, copy_first_rows, copy_recorded_runs
from nbval.plugin import get_sanitize_patterns

README = REPOSITORY / "README.md"
CARD = REPOSITORY / "data" / "README.md"


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.fixture(scope="module")
def outputs(code):
    """All outputs, each with the first line of its cell."""
    return [(cell.source.split("\n")[0], output) for cell in code for output in cell.outputs]


def texts_of(output):
    """The textual representations of an output."""
    contents = [output.get("text", "")] + [content for kind, content in output.get("data", {}).items() if "image" not in kind]
    return [content if isinstance(content, str) else str(content) for content in contents]


# --- as it is stored -----------------------------------------------------------


def test_it_is_a_valid_notebook(notebook):
    nbformat.validate(notebook)


def test_it_was_run_once_from_top_to_bottom(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_no_output_is_an_error_or_a_warning(outputs):
    assert [(cell, output) for cell, output in outputs
            if output.output_type == "error" or output.get("name") == "stderr"] == []


def test_there_is_no_widget_state(notebook, outputs):
    assert "widgets" not in notebook.metadata
    assert [cell for cell, output in outputs if any("widget" in kind for kind in output.get("data", {}))] == []


def test_outputs_hold_no_control_codes(outputs):
    assert [cell for cell, output in outputs if any(re.search(r"\x1b|\r", text) for text in texts_of(output))] == []


def test_no_path_of_a_machine_is_stored(notebook, outputs):
    path = re.compile(r"""(?<![\w.:/])/(home|root|tmp|Users|var/folders|opt|work)/|\b[A-Z]:\\""")
    assert [cell for cell, output in outputs if any(path.search(text) for text in texts_of(output))] == []
    assert [cell.source for cell in notebook.cells if path.search(cell.source)] == []


def test_it_is_small_enough_to_be_shown_by_github():
    assert NOTEBOOK.stat().st_size < 2_000_000


def test_colab_offers_a_gpu_and_the_badge_leads_there(notebook):
    assert notebook.metadata.accelerator == "GPU"
    badge = re.search(r"\[!\[[^\]]*\]\(https://colab\.research\.google\.com/assets/colab-badge\.svg\)\]\((.*?)\)",
                      notebook.cells[0].source)
    assert badge[1] == ("https://colab.research.google.com/github/krishnarevi/Sentence_Classification_BERT/blob/main/"
                        + NOTEBOOK.name)


def test_it_shows_at_least_six_pictures(outputs):
    assert sum("image/png" in output.get("data", {}) for _, output in outputs) >= 6


def test_nothing_is_left_to_fill_in(notebook):
    assert [cell.source for cell in notebook.cells if re.search(r"@@|\bTODO\b|\bFIXME\b", cell.source)] == []


# --- code cells ------------------------------------------------------------------


def code_lines(source):
    """Number of lines with code: without comments, blank lines and docstrings."""
    lines = set()
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_code_lines_are_counted_without_comments_and_docstrings():
    assert code_lines('# c\nx = 1  # c\n\ndef f():\n    """A\n\n    b."""\n    return """1\n2"""\n') == 4


def test_the_code_stays_short(code):
    assert len(code) <= 60
    assert sum(code_lines(cell.source) for cell in code) <= 520
    assert {cell.source.split("\n")[0] for cell in code if len(cell.source.splitlines()) > 30} == set()


def test_every_code_cell_follows_an_explanation(notebook):
    assert [cell.source.split("\n")[0] for before, cell in zip([None, *notebook.cells], notebook.cells)
            if cell.cell_type == "code" and (before is None or before.cell_type != "markdown")] == []


def test_no_cell_is_kept_from_being_compared(notebook, code):
    """nbval can be steered by tags and by comments. No cell with output is ignored, so there is no list of reasons."""
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", ())}
    assert tags <= {"definitions"}
    assert [cell.source for cell in code if re.search(r"nbval|PYTEST_VALIDATE", cell.source, re.IGNORECASE)] == []


def test_what_is_taken_out_before_comparing_leaves_the_rest_of_every_output(code):
    """By the patterns of nbval_sanitize.cfg: no output is taken out whole, and no score is touched."""
    patterns = get_sanitize_patterns((REPOSITORY / "tests" / "nbval_sanitize.cfg").read_text())
    texts = [text for cell in code for output in cell.outputs for text in texts_of(output) if text]
    assert patterns and texts
    for text in texts:
        cleaned = text
        for pattern, replacement in patterns:
            cleaned = re.sub(pattern, replacement, cleaned)
        assert re.search(r"\w", re.sub("SECONDS|MILLISECONDS|VERSION", "", cleaned))
        scores = r"(?:MCC|loss|accuracy|probability)\D{0,12}-?\d\.\d+"
        assert re.findall(scores, cleaned) == re.findall(scores, text)


# --- headings and links --------------------------------------------------------------


@pytest.fixture(scope="module")
def headings(prose):
    without_fences = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    return [(len(marks), text.strip()) for marks, text in re.findall(r"^(#+) (.+)$", without_fences, flags=re.MULTILINE)]


def links_in(text):
    without_code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(\s*<?([^)\s>]+)", without_code) + re.findall(r"""(?:src|href)=["']([^"']+)""", without_code)


def test_headings_nest(headings):
    levels = [level for level, _ in headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert [text for (before, _), (level, text) in zip(headings, headings[1:]) if level > before + 1] == []


def test_sections_are_numbered_in_order(headings):
    sections = [text for level, text in headings if level == 2]
    assert [text.split()[0] for text in sections] == [str(number) for number in range(1, len(sections) + 1)]


def test_links_inside_the_notebook_lead_to_headings(prose, headings):
    anchors = Counter(re.sub(r"[`*]", "", text).replace(" ", "-") for _, text in headings)
    inside = [unquote(link[1:]) for link in links_in(prose) if link.startswith("#")]
    assert inside
    assert [link for link in inside if anchors[link] != 1] == []


def test_the_contents_lead_to_every_section(notebook, headings):
    inside = {unquote(link[1:]) for link in links_in(notebook.cells[0].source) if link.startswith("#")}
    assert inside >= {text.replace(" ", "-") for level, text in headings if level == 2}


def relative(links):
    return [link.split("#")[0] for link in links if not re.match(r"#|[a-z]+:", link)]


def test_relative_links_of_the_notebook_exist(prose):
    assert [link for link in relative(links_in(prose)) if not (REPOSITORY / unquote(link)).exists()] == []


@pytest.mark.parametrize("path, known", [(README, NOTEBOOK.name), (CARD, "experiments.csv")], ids=["README", "data card"])
def test_relative_links_exist(path, known):
    links = relative(links_in(path.read_text(encoding="utf-8")))
    assert known in links
    assert [link for link in links if not (path.parent / unquote(link)).exists()] == []


MADE_BY_THE_READER = {"my_run.ipynb", "reviews.tsv", "cola_public_1.1.zip", "data/cola_public_1.1.zip"}


@pytest.mark.parametrize("path", [README, CARD], ids=["README", "data card"])
def test_files_that_are_named_exist(path):
    text = re.sub(r"\w+://\S+", "", path.read_text(encoding="utf-8"))
    named = set(re.findall(r"[\w./*-]+\.(?:tsv|csv|txt|py|md|ipynb|png|zip|cfg|env)\b", text))
    named -= MADE_BY_THE_READER | {NOTEBOOK.with_suffix(".py").name}
    assert len(named) >= 5
    folders = [REPOSITORY, REPOSITORY / "data", REPOSITORY / "data" / "paradigms"]
    assert [name for name in named if not any(list(folder.glob(name.lstrip("/"))) for folder in folders)] == []


# --- pictures -----------------------------------------------------------------------------


def test_pictures_in_texts_have_alternative_texts(prose):
    for text in (prose, README.read_text(encoding="utf-8"), CARD.read_text(encoding="utf-8")):
        assert [image for image in re.findall(r"!\[([^\]]*)\]", text) if len(image) < 10] == []
        assert "<img" not in text


def test_pictures_in_outputs_have_a_caption(code):
    drawn = [cell for cell in code if any("image/png" in output.get("data", {}) for output in cell.outputs)]
    assert drawn
    assert [cell.source for cell in drawn if not re.search(r"title=f?[\"']|set_titles?\(f?[\"']", cell.source)] == []


# --- sentences that are not ours --------------------------------------------------------


def words_of(text):
    return re.findall(r"\w+", text.casefold())


def by_start(sentences):
    """Sentences (tuples of at least five words) by their first five words."""
    index = {}
    for sentence in sentences:
        index.setdefault(sentence[:5], []).append(sentence)
    return index


def sentences_in(text, index):
    """Those of the sentences in `index` that occur in the text, as strings."""
    words = tuple(words_of(text))
    return {" ".join(sentence) for position in range(len(words) - 4)
            for sentence in index.get(words[position:position + 5], ())
            if words[position:position + len(sentence)] == sentence}


def test_sentences_are_found_whatever_their_case_and_punctuation():
    index = by_start({("the", "old", "ice", "melted", "slowly"), ("the", "old", "ice", "melted", "slowly", "today")})
    assert sentences_in('so "THE old, ice: melted -- slowly" (or not)', index) == {"the old ice melted slowly"}


@pytest.fixture(scope="module")
def cola(definitions, real_corpus):
    """CoLA's sentences of at least five words, by their first five words."""
    sentences = {tuple(words_of(sentence)) for table in definitions.read_corpus(real_corpus).values()
                 for sentence in table["sentence"]}
    return by_start(words for words in sentences if len(words) >= 5)


def test_no_sentence_of_cola_is_in_the_notebook(cola, notebook, outputs):
    texts = [cell.source for cell in notebook.cells] + [text for _, output in outputs for text in texts_of(output)]
    assert set().union(*(sentences_in(text, cola) for text in texts)) == set()


def test_no_sentence_of_cola_is_in_the_readme(cola):
    assert sentences_in(README.read_text(encoding="utf-8"), cola) == set()


def test_no_sentence_of_cola_is_in_the_data(cola):
    texts = [path for path in sorted((REPOSITORY / "data").rglob("*")) if path.suffix in (".tsv", ".txt", ".md", ".py")]
    assert texts
    found = {path.name: sentences_in(path.read_text(encoding="utf-8"), cola) for path in texts}
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


# --- run on other settings -----------------------------------------------------------------


def folder_corpus(folder):
    """A folder of the bundled corpus's first rows; its name, and the rows of each part that are used."""
    (folder / "small").mkdir()
    copy_first_rows(folder / "small", train=300, dev=60, test=50)
    return "small", {"train": 75, "dev": 60, "test": 50}


def own_corpus(folder):
    """A table of a reader's own, with some sentences of more than 64 tokens and two of more than 512; likewise."""
    extra = {number: " and so on" * (200 if number == 40 else 30) for number in (0, 20, 40)}
    rows = [(f"Dish {number} was {'good' if label else 'bad'}{extra.get(number, '')}.", label)
            for number in range(60) for label in (0, 1)]
    pd.DataFrame(rows, columns=["sentence", "label"]).to_csv(folder / "reviews.tsv", sep="\t", index=False)
    return "reviews.tsv", {"train": 96, "dev": 12, "test": 12}


def trained_parts(folder, encoder):
    """Which parts of the saved model, from below, are not those of the encoder: the embeddings, each layer."""
    before, after = (transformers.AutoModel.from_pretrained(path) for path in (encoder, folder))
    parts = [[model.embeddings, *model.encoder.layer] for model in (before, after)]
    return [not all(map(torch.equal, was.state_dict().values(), is_now.state_dict().values()))
            for was, is_now in zip(*parts)]


@pytest.mark.parametrize("make_corpus, epochs, share, frozen, precision",
                         [(folder_corpus, 2, 0.25, 3, "bf16"), (own_corpus, 1, 1, 0, "fp32")], ids=["folder", "own table"])
def test_it_runs_on_other_settings(tmp_path, monkeypatch, minilm, make_corpus, epochs, share, frozen, precision):
    place = tmp_path / "place"
    place.mkdir()
    shutil.copy(NOTEBOOK, place)
    copy_recorded_runs(place)
    corpus, sizes = make_corpus(place)
    settings = {"CORPUS": corpus, "EPOCHS": epochs, "SEED": 7, "BATCH_SIZE": 16, "TRAIN_SHARE": share, "FROZEN_PARTS": frozen,
                "PRECISION": precision, "MODEL_FOLDER": "out/model", "PICTURES_FOLDER": "out/pictures"}
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    run = nbclient.NotebookClient(nbformat.read(place / NOTEBOOK.name, as_version=4), timeout=900,
                                  kernel_name="python3", resources={"metadata": {"path": str(place)}}).execute()
    texts = [text for cell in run.cells if cell.cell_type == "code" for output in cell.outputs for text in texts_of(output)]
    card = next(text for text in texts if text.startswith("corpus "))
    assert corpus in card.splitlines()[0]
    assert all(part in card for part in (f"{epochs} epochs", "16 sentences a step", "seed 7", "MiniLM", precision))
    assert any("the same to the last digit: True" in text for text in texts)  # with bf16, attention is computed otherwise
    counts = next(text for text in texts if "<table" in text and "mean words" in text)
    assert [int(count) for count in re.findall(r"<th>(?:train|dev|test)</th>\s*<td>(\d+)</td>", counts)] == list(sizes.values())
    assert [output.text for cell in run.cells if cell.cell_type == "code" for output in cell.outputs
            if output.get("name") == "stderr"] == []
    assert (place / "out/model/model.safetensors").exists() and (place / "out/model/tokenizer.json").exists()
    assert trained_parts(place / "out/model", minilm) == [part >= frozen for part in range(7)]
    assert {path.name for path in (place / "out/pictures").iterdir()} == {"training_log.png", "sample_predictions.png"}
    assert {path.name for path in place.iterdir()} <= {NOTEBOOK.name, corpus, "out", "data"}
