"""Run the notebook in JupyterLab as a reader would, in a real browser: open it, Run > Run All Cells, wait, save.

    apt-get install chromium chromium-driver && pip install selenium
    python tests/in_a_browser.py [SETTING=VALUE ...]

Chromium works without a window. Without settings it takes the first rows of the bundled corpus and one epoch.
Ends with status 0 if every cell was run and none reported an error.
"""
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from conftest import NOTEBOOK, copy_first_rows, copy_recorded_runs
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


def make_place(place):
    """A folder with the notebook, without its outputs, and a small corpus."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, place / NOTEBOOK.name)
    (place / "small").mkdir()
    copy_recorded_runs(place)
    copy_first_rows(place / "small")


def make_browser(place):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000",
                     f"--user-data-dir={place}/profile"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def click(browser, kind, label):
    """Click the item of a menu once it is there."""
    WebDriverWait(browser, 60).until(
        lambda _: [item for item in browser.find_elements(By.CSS_SELECTOR, kind) if item.text.startswith(label)])[0].click()


def run_all_cells(browser, address, path):
    """Do as a reader would: the code cells at `path`, once all are run or one has failed, as saved by JupyterLab."""
    browser.get(address)
    WebDriverWait(browser, 180).until(lambda _: browser.find_elements(
        By.CSS_SELECTOR, ".jp-Notebook-ExecutionIndicator[data-status=idle]"))
    code = []
    for number in range(360):
        if number % 12 == 0 and not any(cell.execution_count for cell in code):  # a kernel that starts may not listen yet
            click(browser, ".lm-MenuBar-itemLabel", "Run")
            click(browser, ".lm-Menu-itemLabel", "Run All Cells")
        time.sleep(5)
        browser.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "s")
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        if code[-1].execution_count or any(output.output_type == "error" for cell in code for output in cell.outputs):
            return code
    raise TimeoutError("the cells were not through after half an hour")


def main(settings):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        make_place(place)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port, token = probe.getsockname()[1], secrets.token_hex(16)
        environment = os.environ | {"CORPUS": "small", "ENCODER": "minilm", "EPOCHS": "1", "HF_HUB_OFFLINE": "1"} | settings
        lab = subprocess.Popen([sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}",
                                "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"],
                               cwd=place, env=environment, stderr=subprocess.DEVNULL)
        browser = None
        try:
            for _ in range(120):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.5)
            browser = make_browser(place)
            address = f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK.name}?token={token}"
            code = run_all_cells(browser, address, place / NOTEBOOK.name)
        except BaseException:
            if browser:
                browser.save_screenshot(Path(tempfile.gettempdir()) / "in_a_browser.png")
            raise
        finally:
            if browser:
                browser.quit()
            lab.terminate()
            lab.wait(30)
    not_run = [cell.source.split("\n")[0] for number, cell in enumerate(code, 1) if cell.execution_count != number]
    errors = [output.evalue for cell in code for output in cell.outputs if output.output_type == "error"]
    print(f"{len(code) - len(not_run)} of {len(code)} cells run, {len(errors)} errors", *not_run[:3], *errors, sep="\n")
    return 1 if not_run or errors else 0


if __name__ == "__main__":
    if not shutil.which("chromedriver"):
        sys.exit("chromedriver is not installed; see the head of this file.")
    if wrong := [argument for argument in sys.argv[1:] if not re.match(r"[A-Z_]+=", argument)]:
        sys.exit(f"{wrong[0]}: expected SETTING=VALUE.")
    sys.exit(main(dict(argument.split("=", 1) for argument in sys.argv[1:])))
