"""Run the code cells of a notebook in this process: python run_cells.py NOTEBOOK [WATCH].

With UNTIL in the environment it stops after the first cell that starts with those words.

With WATCH, a file, a line is appended to it for each file opened for writing, each connection and
each unpickled object, here and in the Python processes that the notebook starts.
"""
import os
import sys
from pathlib import Path

WATCH = '''
import os, sys

def note(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        what = os.path.abspath(os.fsdecode(args[0])) if not isinstance(args[0], int) else ""
    elif event in ("os.mkdir", "os.remove", "os.rename"):
        what = os.path.abspath(os.fsdecode(args[args and event == "os.rename"]))
    elif event in ("socket.connect", "socket.getaddrinfo", "pickle.find_class"):
        what = str(args[1:] if event == "socket.connect" else args)
    else:
        return
    if what:
        os.write(report, f"{event}\\t{what}\\n".encode())

report = os.open(os.environ["WATCH"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(note)
'''

if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.environ["WATCH"] = sys.argv[2]
        folder = Path(sys.argv[2]).with_suffix(".site")
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(WATCH)
        os.environ["PYTHONPATH"] = str(folder)
        exec(WATCH)
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    for cell in nbformat.read(sys.argv[1], as_version=4).cells:
        if cell.cell_type == "code" and not shell.run_cell(cell.source).success:
            sys.exit(1)
        if "UNTIL" in os.environ and cell.source.startswith(os.environ["UNTIL"]):
            break
