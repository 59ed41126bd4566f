"""What the strict comparison of the notebook lets through and what it stops, tried on a small notebook of our own."""
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import nbformat
import pytest
import sklearn
from conftest import PINNED, REPOSITORY

PLOT = """import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.plot([0, 1, 2], [0.1, {}, 0.3])
_ = ax.set(title="{}", ylim=(0, 1))"""

# what is compared: (the cell whose output is stored, the cell that is run, whether that may pass: where the processor
# computes as the one did that the stored outputs come from, and where it rounds otherwise)
CASES = {
    "a score": ("print('dev MCC 0.850')", "print('dev MCC 0.851')", (False, True)),
    "a score far off": ("print('dev MCC 0.850')", "print('dev MCC 0.871')", (False, False)),
    "a word": ("print('dev MCC 0.850')", "print('test MCC 0.850')", (False, False)),
    "a verdict more": ("print('17 of 40', 5e-05)", "print('18 of 40', 5e-05)", (False, True)),
    "many more": ("print('17 of 40', 5e-05)", "print('20 of 40', 5e-05)", (False, False)),
    "a number more": ("print('17 of 40')", "print('17 40 of 40')", (False, False)),
    "a clock time": ("print('as good after 71 seconds, MCC 0.5')", "print('as good after 64 seconds, MCC 0.5')", (True, True)),
    "a score beside it": ("print('as good after 71 seconds, MCC 0.5')", "print('as good after 71 seconds, MCC 0.6')", (False, False)),
    "a version": ("print('torch 2.13.0')", "print('torch 2.14.1')", (True, True)),
    "more output": ("print('one')", "print('one')\nprint('two')", (False, False)),
    "less output": ("print('one')", "", (False, False)),
}
PICTURES = {
    "the same picture": (PLOT.format(0.5, "The same"), PLOT.format(0.5, "The same"), (True, True)),
    "a point moved": (PLOT.format(0.5, "The same"), PLOT.format(0.52, "The same"), (False, True)),
    "a point far off": (PLOT.format(0.5, "The same"), PLOT.format(0.9, "The same"), (False, False)),
    "a letter changed": (PLOT.format(0.5, "The same"), PLOT.format(0.5, "The sane"), (False, True)),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A notebook with the stored output of each case and the cell that is run."""
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
    return path


@pytest.fixture(scope="module")
def checksums(tmp_path_factory):
    """Files with the checksum of the arithmetic here, and with one of another."""
    folder = tmp_path_factory.mktemp("checksums")
    stored = {"the same arithmetic": folder / "same.txt", "another": folder / "another.txt"}
    environment = os.environ | {"STORED_ARITHMETIC": str(stored["the same arithmetic"])}
    subprocess.run([sys.executable, REPOSITORY / "tests/arithmetic.py", "--store"], env=environment, check=True,
                   capture_output=True)
    stored["another"].write_text("0123 of another processor")
    return stored


@pytest.fixture(scope="module", params=["the same arithmetic", "another"])
def passed(request, small, checksums):
    """0 or 1, the place in what is expected, and whether each case passed, as the test command of the project judges it."""
    run = subprocess.run([sys.executable, "-m", "pytest", "-p", "conftest", "-c", REPOSITORY / ".pytest.ini", "--rootdir", small.parent,
                          "--nbval-sanitize-with", REPOSITORY / "tests/nbval_sanitize.cfg", "--junit-xml", small.with_suffix(".xml"), small],
                         env=os.environ | {"PYTHONPATH": str(REPOSITORY / "tests"), "STORED_ARITHMETIC": str(checksums[request.param])},
                         capture_output=True, text=True)
    results = [case.find("failure") is None for case in ElementTree.parse(small.with_suffix(".xml")).iter("testcase")]
    assert len(results) == len(CASES) + len(PICTURES), run.stdout[-2000:] + run.stderr[-2000:]
    return max(request.param_index, f"scikit-learn=={sklearn.__version__}" not in PINNED), dict(zip([*CASES, *PICTURES], results))


@pytest.mark.parametrize("name", CASES)
def test_texts(passed, name):
    column, results = passed
    assert results[name] is CASES[name][2][column]


@pytest.mark.skipif(f"matplotlib=={matplotlib.__version__}" not in PINNED,
                    reason="pictures are compared only with the Matplotlib that drew those stored")
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(passed, name):
    column, results = passed
    assert results[name] is PICTURES[name][2][column]


def test_the_checksum_sees_another_arithmetic(checksums, tmp_path):
    """That it comes out again in the same one, "a score" of the test of texts shows."""
    source = REPOSITORY / "tests"
    (tmp_path / "arithmetic.py").write_text((source / "arithmetic.py").read_text())
    (tmp_path / "fixed_arithmetic.env").write_text(
        (source / "fixed_arithmetic.env").read_text().replace("OMP_NUM_THREADS=2", "OMP_NUM_THREADS=1"))
    run = subprocess.run([sys.executable, tmp_path / "arithmetic.py"], stdout=subprocess.PIPE, text=True, check=True)
    other, stored = run.stdout.split()[0], checksums["the same arithmetic"].read_text().split()[0]
    assert len(other) == len(stored) == 64 and other != stored
