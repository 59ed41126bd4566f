"""The notebook as a file, its functions as a module, its programs, and a large table: shared by tests and benchmark."""
import linecache
import random
import re
import subprocess
import sys
import types
from pathlib import Path

import nbformat

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "BERT_Fine_Tuning_Sentence_Classification.ipynb"


def module_of_definitions(notebook):
    """A module, "definitions", made of the cells of `notebook` (as nbformat reads it) that are tagged so."""
    module = types.ModuleType("definitions")
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and "definitions" in cell.metadata.get("tags", ()):
            file_name = f"<{NOTEBOOK.name}, cell {number}>"
            linecache.cache[file_name] = (len(cell.source), None, cell.source.splitlines(keepends=True), file_name)
            exec(compile(cell.source, file_name, "exec"), module.__dict__)
    return module


def programs_of_notebook(notebook):
    """The programs in the Markdown of `notebook`, by the name of the file that their first line gives."""
    texts = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    sources = re.findall(r"```python\n(.*?)```", texts, re.DOTALL)
    return {re.match(r"# (\w+\.py)", source)[1]: source for source in sources}


def write_large_table(path, rows):
    """Write `rows` rows, drawn from the bundled training sentences, to `path` in CoLA's format."""
    lines = (REPOSITORY / "data" / "in_domain_train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    draw = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for start in range(0, rows, 1000):
            file.writelines(draw.choices(lines, k=min(1000, rows - start)))


def memory_of_lists(path):
    """By how many MiB a fresh process grows that holds the rows of the table at `path` as lists of strings."""
    program = """import psutil, sys
memory = lambda: psutil.Process().memory_info().rss / 2**20
before = memory()
rows = [line.rstrip().split("\\t") for line in open(sys.argv[1], encoding="utf-8")]
print(memory() - before)"""
    run = subprocess.run([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True, check=True)
    return float(run.stdout)
