"""How far the scores of the notebook move when the processor rounds otherwise.

    python tests/arithmetic_runs.py [SETTING ...]    # trains once a setting; some five minutes each on two cores

Each run is a row of data/arithmetic.csv; it takes the place of one with the same setting on the same kind of processor.
"""
import hashlib
import os
import re
import sys
import tempfile
from datetime import date
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from arithmetic import FIXED_ARITHMETIC
from conftest import names_of_settings
from notebook_cells import REPOSITORY
from test_place import started

sys.path.insert(0, str(REPOSITORY / "data"))
from run_experiments import cpu_name

RESULTS = REPOSITORY / "data" / "arithmetic.csv"
AVX512 = {"MKL_CBWR": "AVX512", "ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
# what differs from the arithmetic that the tests fix; None: the variable is not set
SETTINGS = {"as stored": {}, "as stored, once more": {}, "one thread": {"OMP_NUM_THREADS": "1"},
            "four threads": {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE"},  # also where there are but two cores
            "AVX-512": AVX512, "free": dict.fromkeys(FIXED_ARITHMETIC)}


def metrics(text):
    """Dev MCC of each epoch of the first training, and out-of-domain MCC, from what the notebook prints."""
    dev = [float(value) for value in re.findall(r"dev MCC (-?[\d.]+(?:e-\d+)?)", text.split("out-of-domain")[0])]
    return dev, float(re.search(r"out-of-domain MCC (-?\d\.\d+)", text)[1])


def trained(place, changes):
    """What the notebook prints until the out-of-domain score, run in the folder `place` with its default settings.

    `changes` (name: value, or None) are made to the environment with the fixed arithmetic.
    """
    environment = FIXED_ARITHMETIC | changes
    wanted = {name: value for name, value in environment.items() if value is not None}
    with mock.patch.dict(os.environ):
        for name in [*environment, *names_of_settings()]:
            os.environ.pop(name, None)
        run = started(place, REPOSITORY / "data", ENCODER="minilm", DEVICE="cpu",
                      UNTIL="truth = ", **wanted)  # all is scored there
    printed = run.communicate()[0]
    if run.returncode:
        raise RuntimeError(f"the notebook stopped: {printed[-2000:]}")
    return printed


def measured(setting):
    """A row of the table of results, for the run with `setting`."""
    with tempfile.TemporaryDirectory() as place:
        dev, out_of_domain = metrics(trained(place, SETTINGS[setting]))
        weights = hashlib.sha256((Path(place) / "model" / "model.safetensors").read_bytes()).hexdigest()
    return {"setting": setting, "device": cpu_name(), "out-of-domain MCC": out_of_domain,
            **{f"dev MCC {epoch}": value for epoch, value in enumerate(dev, 1)}, "weights": weights[:16],
            "torch": torch.__version__, "date": date.today().isoformat()}


if __name__ == "__main__":
    for setting in sys.argv[1:] or SETTINGS:
        row = pd.DataFrame([measured(setting)])
        print(row.to_string(index=False), flush=True)
        table = pd.concat([pd.read_csv(RESULTS), row]) if RESULTS.exists() else row
        table.drop_duplicates(["setting", "device"], keep="last").to_csv(RESULTS, index=False)
