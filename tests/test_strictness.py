"""What the strict comparison of the notebook lets through and what it stops, tried on a small notebook of our own."""
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import nbformat
import pytest
from conftest import REPOSITORY

PLOT = """import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.plot([0, 1, 2], [0.1, {}, 0.3])
_ = ax.set(title="{}", ylim=(0, 1))"""

# what is compared: (the cell whose output is stored, the cell that is run, whether that may pass)
CASES = {
    "a score": ("print('dev MCC 0.850')", "print('dev MCC 0.851')", False),
    "a clock time": ("print('as good after 71 seconds, MCC 0.5')", "print('as good after 64 seconds, MCC 0.5')", True),
    "a score beside it": ("print('as good after 71 seconds, MCC 0.5')", "print('as good after 71 seconds, MCC 0.6')", False),
    "a version": ("print('torch 2.13.0')", "print('torch 2.14.1')", True),
    "more output": ("print('one')", "print('one')\nprint('two')", False),
    "less output": ("print('one')", "", False),
}
PICTURES = {
    "the same picture": (PLOT.format(0.5, "The same"), PLOT.format(0.5, "The same"), True),
    "a point moved": (PLOT.format(0.5, "The same"), PLOT.format(0.52, "The same"), False),
    "a letter changed": (PLOT.format(0.5, "The same"), PLOT.format(0.5, "The sane"), False),
}


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """Whether each case passed, as the test command of the project judges it."""
    path = tmp_path_factory.mktemp("strict") / "small.ipynb"
    cases = [*CASES.values(), *PICTURES.values()]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(stored) for stored, _, _ in cases])
    nbformat.write(notebook, path)
    subprocess.run([sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace", path],
                   check=True, capture_output=True)
    notebook = nbformat.read(path, as_version=4)
    for cell, (_, run, _) in zip(notebook.cells, cases):
        cell.source = run
    nbformat.write(notebook, path)
    run = subprocess.run([sys.executable, "-m", "pytest", "-p", "conftest", "-c", REPOSITORY / ".pytest.ini", "--rootdir", path.parent,
                          "--nbval-sanitize-with", REPOSITORY / "tests/nbval_sanitize.cfg", "--junit-xml", path.with_suffix(".xml"), path],
                         env=os.environ | {"PYTHONPATH": str(REPOSITORY / "tests")}, capture_output=True, text=True)
    results = [case.find("failure") is None for case in ElementTree.parse(path.with_suffix(".xml")).iter("testcase")]
    assert len(results) == len(cases), run.stdout[-2000:] + run.stderr[-2000:]
    return dict(zip([*CASES, *PICTURES], results))


@pytest.mark.parametrize("name", CASES)
def test_texts(passed, name):
    assert passed[name] is CASES[name][2]


@pytest.mark.skipif(f"matplotlib=={matplotlib.__version__}" not in (REPOSITORY / "requirements.txt").read_text().split(),
                    reason="pictures are compared only with the Matplotlib that drew those stored")
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(passed, name):
    assert passed[name] is PICTURES[name][2]
