"""The notebook as a page: exported to HTML and opened in headless Chromium."""
import json
import re
import shutil
import subprocess

import pytest
from nbconvert import HTMLExporter

# Runs in the page; leaves a report in the title, which --dump-dom prints.
PROBE = """<script>
window.addEventListener("load", () => setTimeout(() => {
  const pictures = [...document.images].filter(i => !/^https?:/.test(i.getAttribute("src")));
  document.title = "REPORT" + JSON.stringify({count: pictures.length,
    hidden: pictures.filter(i => !(i.naturalWidth && i.getClientRects().length)).map(i => i.alt)}) + "END";
}, 500));
</script>"""


@pytest.fixture(scope="module")
def chromium():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return program or pytest.skip("no Chromium on this machine")


@pytest.fixture(scope="module")
def page(notebook):
    """The notebook as HTML; what it would load from elsewhere (MathJax and the like) is left out."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    return exporter.from_notebook_node(notebook)[0]


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens a page in the browser: its report on the pictures, and the errors on the console."""
    def open_page(page):
        (tmp_path / "page.html").write_text(page.replace("</head>", PROBE + "</head>"), encoding="utf-8")
        run = subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
                              "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", tmp_path / "page.html"],
                             capture_output=True, text=True, timeout=120)
        console = re.findall(r"CONSOLE[^\]]*\] (.*)", run.stderr)
        return (json.loads(re.search(r"REPORT(\{.*?\})END", run.stdout)[1].replace("&quot;", '"')),
                [line for line in console if "net::ERR" not in line and re.search("error|failed", line, re.IGNORECASE)])
    return open_page


def test_the_page_shows_every_picture_without_an_error(opened, page, notebook):
    pictures = sum("image/png" in output.get("data", {}) for cell in notebook.cells if cell.cell_type == "code"
                   for output in cell.outputs)
    assert pictures >= 6 and opened(page) == ({"count": pictures, "hidden": []}, [])


def test_a_broken_picture_and_a_fault_in_a_script_would_be_seen(opened, page):
    broken = page.replace("</body>", '<img src="no-such.png" alt="lost"><script>nowhere();</script></body>')
    report, errors = opened(broken)
    assert report["hidden"] == ["lost"] and any("nowhere" in error for error in errors)
