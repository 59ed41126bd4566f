"""The notebook as a file, and its functions as a module: shared by the tests and the benchmark."""
import linecache
import re
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
