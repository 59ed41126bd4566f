"""Measure how fast the notebook trains, against the recipe that most BERT tutorials of 2019 to 2021 share.

    python tests/benchmark.py                     # every part but quality
    python tests/benchmark.py compare limit       # these parts
    python tests/benchmark.py quality --seeds 1 2 3
    python tests/benchmark.py --table             # the tables of the README, from the recorded figures

The copied recipe pads every sentence to 64 tokens, draws batches of 32 in random order, trains with dropout 0.1 in fp32
with an AdamW that loops over the parameters, asks for the loss at every step, has no warm-up, and evaluates under
torch.no_grad, padded to 64 too. Ours is the notebook's own code, taken from its cells. Both use the same encoder, the
same version of the libraries and the same sentences; tokenizing them is in neither time. The two take turns, and
medians are recorded.

compare  the two recipes: speed, padding, memory
padding  its share in an epoch of the whole corpus, where batches of like length have more sentences to choose from
ladder   from the copied recipe to ours, one change at a time; and the same for the evaluation
growth   time of an epoch from an eighth of the corpus to eight times it
length   time of a training step against the length of the sentences
limit    operations that the real tokens need over the rate of a large matrix product; where the rest of the time goes
stream   memory that the program of section 14 needs for a corpus of a million rows
compile  what torch.compile costs and brings
quality  full trainings with both recipes, and with the Trainer's program of section 14: the same MCC?

The figures go to data/benchmark.csv, a row each. Measuring a part again for the same corpus, encoder and device
replaces its rows.
"""
import argparse
import contextlib
import ctypes
import dataclasses
import functools
import gc
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import timeit
from datetime import date
from pathlib import Path
from unittest import mock

import nbformat
import numpy as np
import pandas as pd
import psutil
import torch
import transformers
from notebook_cells import (
    NOTEBOOK, REPOSITORY, memory_of_lists, module_of_definitions, programs_of_notebook, write_large_table)
from scipy import special
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

sys.path.insert(0, str(REPOSITORY / "data"))
from run_experiments import cpu_name

RESULTS = REPOSITORY / "data" / "benchmark.csv"
COLUMNS = ["part", "corpus", "encoder", "device", "threads", "what", "precision", "figure", "value", "lowest",
           "highest", "unit", "rounds", "torch", "transformers", "date"]
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_SIZE, PADDED_LENGTH, WARM_UP_STEPS, SEED = 32, 64, 3, 42
FACTORS = {1 / 8: "an eighth", 1 / 4: "a quarter", 1 / 2: "half", 1: "all", 2: "2 times", 4: "4 times", 8: "8 times"}
SECONDS_A_POINT = 40  # of each number of sentences in the part growth, at least
LENGTHS = (8, 16, 32, 64, 128, 256, 512)


# --- the copied recipe -----------------------------------------------------------------


def copied_batches(sentences, tokenizer, generator=None):
    """A DataLoader of (input_ids, attention_mask, labels), 32 sentences of 64 tokens each, longer ones cut.

    In random order by `generator` (a torch.Generator); without one, in their own.
    """
    cut = [ids if len(ids) <= PADDED_LENGTH else ids[:PADDED_LENGTH - 1] + ids[-1:] for ids in sentences.token_ids]
    padded = tokenizer.pad({"input_ids": cut}, padding="max_length", max_length=PADDED_LENGTH, return_tensors="pt")
    dataset = TensorDataset(padded["input_ids"], padded["attention_mask"], sentences.labels.cpu())
    sampler = RandomSampler(dataset, generator=generator) if generator else None
    return DataLoader(dataset, sampler=sampler, batch_size=BATCH_SIZE)


def copied_optimizer(model, total_steps, settings):
    """AdamW that loops over the parameters, and a linear schedule without warm-up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, foreach=False, fused=False)
    return optimizer, transformers.get_linear_schedule_with_warmup(optimizer, 0, total_steps)


def copied_epoch(model, batches, optimizer, scheduler, asks_for_loss=True):
    """Train on each of `batches` (tuples of input_ids, attention_mask, labels) once; the sum of the losses."""
    model.train()
    total_loss = 0
    for input_ids, attention_mask, labels in batches:
        input_ids, attention_mask, labels = (part.to(model.device) for part in (input_ids, attention_mask, labels))
        optimizer.zero_grad()
        loss = model(input_ids, attention_mask=attention_mask, labels=labels).loss
        total_loss += loss.item() if asks_for_loss else loss.detach()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    return float(total_loss)


@torch.no_grad()
def copied_logits(model, batches):
    """What `model` answers to `batches` as above: an array (sentences, 2)."""
    model.eval()
    return np.concatenate([model(input_ids.to(model.device), attention_mask=attention_mask.to(model.device))
                           .logits.cpu().numpy() for input_ids, attention_mask, _ in batches])


# --- the recipes, and what they run on -----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to train. As it stands: the copied one; each field changed brings it nearer to ours."""

    name: str = "copied recipe"
    batches: str = "all to 64"  # or: random order, like lengths
    own_dropout: bool = False  # the dropout that the notebook takes for the encoder, instead of 0.1
    own_optimizer: bool = False  # the notebook's: fused, no weight decay of vectors, warm-up
    asks_for_loss: bool = True  # at every step
    own_loop: bool = False  # the notebook's train_one_epoch
    precision: str = "fp32"
    own_attention: bool = False  # the notebook's choice for the precision, instead of PyTorch's combined one

    @property
    def padded_length(self):
        """The length in tokens to which every sentence is padded or cut; None where its batch decides."""
        return PADDED_LENGTH if self.batches == "all to 64" else None


OURS = Recipe("ours", "like lengths", own_dropout=True, own_optimizer=True, asks_for_loss=False, own_loop=True,
              own_attention=True)


def has_bf16(device):
    """Whether `device` multiplies in bf16 itself, and is not told to do without."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    is_restricted = "AVX512" not in torch.backends.cpu.get_cpu_capability()  # by ATEN_CPU_CAPABILITY, for instance
    return device.type == "cpu" and not is_restricted and any(
        torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


@dataclasses.dataclass
class Sentences:
    """Token ids (a list of lists) and labels (a tensor on the device)."""

    token_ids: list
    labels: torch.Tensor

    def take(self, numbers):
        """Those with these `numbers`."""
        return Sentences([self.token_ids[number] for number in numbers], self.labels[numbers])

    @property
    def lengths(self):
        return [len(ids) for ids in self.token_ids]


class Bench:
    """The notebook's functions, the encoder, the corpus as token ids, the device, and what they are called.

    Raises ValueError or OSError, saying what is wrong, for a corpus or an encoder that cannot be used.
    """

    def __init__(self, options):
        self.definitions = definitions = module_of_definitions(nbformat.read(NOTEBOOK, as_version=4))
        self.device, self.rounds, self.options = torch.device(options.device), options.rounds, options
        if not options.corpus.exists():
            raise OSError(f"--corpus {options.corpus}: not found; give a folder, the zip of CoLA or a .tsv")
        if options.encoder != "minilm" and not Path(options.encoder).is_dir():
            raise OSError(f"--encoder {options.encoder}: no such folder; give one with a config.json, or minilm")
        self.folder = definitions.find_encoder(options.encoder, has_gpu=False)[0]
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        is_new = options.architecture == "bert-base"
        self.config = transformers.BertConfig() if is_new else transformers.AutoConfig.from_pretrained(self.folder)
        is_small = self.config.hidden_size < 768  # as in the notebook, and the two rates and shares of dropout too
        self.learning_rate, self.dropout = (7e-5, 0.0) if is_small else (2e-5, 0.1)
        on_cuda = self.device.type == "cuda"
        self.precisions = ["fp32", *["bf16"] * has_bf16(self.device), *["fp16"] * on_cuda]
        self.precision = self.precisions[1] if on_cuda else "fp32"  # the notebook's own choice
        corpus = definitions.read_corpus(options.corpus)
        self.corpus = {part: Sentences(definitions.encode(table["sentence"], self.tokenizer),
                                       torch.tensor(table["label"].to_numpy(), device=self.device))
                       for part, table in corpus.items()}
        total = len(self.corpus["train"].token_ids)
        if options.sentences > total:
            raise ValueError(f"--sentences {options.sentences}: the corpus has only {total} to train on")
        self.order = torch.randperm(total, generator=torch.Generator().manual_seed(SEED)).tolist()
        self.sample = self.corpus["train"].take(self.order[:options.sentences])
        self.half = self.corpus["train"].take(self.order[:max(1, options.sentences // 2)])
        name = options.corpus.resolve().stem
        self.named = {
            "corpus": "BLAC" if options.corpus.resolve() == REPOSITORY / "data" else
                      "CoLA" if name.startswith("cola_") else name,
            "encoder": "BERT-base with random weights" if is_new else
                       "all-MiniLM-L6-v2" if options.encoder == "minilm" else Path(options.encoder).resolve().name,
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else
                      cpu_name() if self.device.type == "cpu" else self.device.type}

    def make_model(self, recipe, seed=SEED):
        """The network that `recipe` starts from."""
        transformers.set_seed(seed)
        dropout = self.dropout if recipe.own_dropout else 0.1
        is_plain = recipe.own_attention and f"{self.device} {recipe.precision}" == "cpu bf16"  # as in the notebook
        dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "num_labels": 2,
                    "attn_implementation": "eager" if is_plain else "sdpa"}
        if self.options.architecture == "bert-base":
            model = transformers.BertForSequenceClassification(transformers.BertConfig(**dropouts))
        else:
            model = transformers.BertForSequenceClassification.from_pretrained(
                self.folder, use_safetensors=True, **dropouts)
        return model.to(self.device)

    def batches(self, recipe, lengths, generator):
        """One epoch of batches of sentences with these `lengths`, each a list of their numbers."""
        if recipe.batches == "like lengths":
            return self.definitions.make_batches(lengths, BATCH_SIZE, generator)
        order = torch.randperm(len(lengths), generator=generator)
        return [members.tolist() for members in order.split(BATCH_SIZE)]

    def settings(self, recipe, seed=SEED, epochs=4):
        return self.definitions.Settings(epochs=epochs, batch_size=BATCH_SIZE, learning_rate=self.learning_rate,
                                         precision=recipe.precision, seed=seed)

    def ours(self):
        """Our recipe in each precision that the device computes in."""
        return [dataclasses.replace(OURS, precision=precision) for precision in self.precisions]

    @contextlib.contextmanager
    def as_in_notebook(self):
        """Reproducible arithmetic on a GPU, which the notebook asks for and which costs some speed; and silence."""
        torch.use_deterministic_algorithms(self.device.type == "cuda", warn_only=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            torch.use_deterministic_algorithms(False)

    def now(self):
        """The clock (seconds), once the device has done all that it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return timeit.default_timer()


class Training:
    """A model and its optimizer, to be trained by `recipe`."""

    def __init__(self, bench, recipe, total_steps=1000, seed=SEED):
        self.bench, self.recipe = bench, recipe
        self.model = bench.make_model(recipe, seed)
        make_optimizer = bench.definitions.make_optimizer if recipe.own_optimizer else copied_optimizer
        self.optimizer, self.scheduler = make_optimizer(self.model, total_steps, bench.settings(recipe))
        self.scaler = torch.amp.GradScaler(bench.device.type, enabled=recipe.precision == "fp16")

    def padded_to_longest(self, sentences, batches):
        """The tuples that copied_epoch takes, each batch padded to its longest sentence."""
        for members in batches:
            batch = self.bench.tokenizer.pad({"input_ids": [sentences.token_ids[i] for i in members]},
                                             return_tensors="pt")
            yield batch["input_ids"], batch["attention_mask"], sentences.labels[members]

    def run_own_loop(self, sentences, batches):
        """Train by the notebook's train_one_epoch; silently."""
        with self.bench.as_in_notebook():
            self.bench.definitions.train_one_epoch(
                self.model, batches, sentences.token_ids, sentences.labels, self.bench.tokenizer, self.optimizer,
                self.scheduler, self.scaler, FORMATS[self.recipe.precision])

    def epoch(self, sentences, seed):
        """Train on all `sentences` once, their order given by `seed`: seconds, and the share of padding in %."""
        generator, recipe = torch.Generator().manual_seed(seed), self.recipe
        loop = functools.partial(copied_epoch, self.model, optimizer=self.optimizer, scheduler=self.scheduler,
                                 asks_for_loss=recipe.asks_for_loss)
        if recipe.padded_length:
            padded = copied_batches(sentences, self.bench.tokenizer, generator)
            batches = [range(len(sentences.lengths))]
            start = self.bench.now()
            loop(padded)
        else:
            start = self.bench.now()
            batches = self.bench.batches(recipe, sentences.lengths, generator)
            if recipe.own_loop:
                self.run_own_loop(sentences, batches)
            else:
                loop(self.padded_to_longest(sentences, batches))
        seconds = self.bench.now() - start
        return seconds, 100 * padded_share(batches, sentences.lengths, recipe.padded_length)


def padded_share(batches, lengths, padded_length=None):
    """Share of padding in `batches` (lists of sentence numbers), each padded to its longest sentence.

    Or to `padded_length` tokens, to which longer sentences are cut.
    """
    lengths = np.minimum(lengths, padded_length or max(lengths))
    padded = sum(len(members) * (padded_length or lengths[list(members)].max()) for members in batches)
    return 1 - sum(lengths[list(members)].sum() for members in batches) / padded


@contextlib.contextmanager
def peak_memory(device):
    """Context in which memory is watched: a list that afterwards holds the peak in MiB.

    On a CUDA device that of the tensors. Elsewhere how far the resident set of this process, looked up every 20 ms,
    rose above what it was at the start.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        peak = []
        yield peak
        peak.append(torch.cuda.max_memory_allocated() / 2**20)
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed, which would be missing from the rise
    process, ended, peak = psutil.Process(), threading.Event(), []
    seen = [process.memory_info().rss]

    def watch():
        while not ended.wait(0.02):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
    peak.append((max(seen) - seen[0]) / 2**20)


# --- the parts: each returns rows -----------------------------------------------------------


def figure(part, what, precision, name, unit, values, rounds=None):
    """A row for a number, or for the numbers of some rounds: their median, lowest and highest."""
    several = np.size(values) > 1
    return {"part": part, "what": what, "precision": precision, "figure": name, "unit": unit,
            "value": float(np.median(values)), "lowest": float(np.min(values)) if several else None,
            "highest": float(np.max(values)) if several else None, "rounds": rounds or np.size(values)}


def alternate(part, cases, rounds, measure):
    """`measure(case, round)` for each of the `cases` by turns: for each a list with an entry a round."""
    found = {case: [] for case in cases}
    for number in range(rounds):
        print(f"{part}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for case in cases:
            found[case].append(measure(case, number))
    return found


def measure_training(bench, sentences, recipe, number):
    """One round of `recipe` with a model of its own: seconds, share of padding (%), peak memory (MiB)."""
    with peak_memory(bench.device) as peak:
        training = Training(bench, recipe)
        training.epoch(sentences.take(range(min(WARM_UP_STEPS * BATCH_SIZE, len(sentences.token_ids)))), number)
        seconds, padding = training.epoch(sentences, number)
    return seconds, padding, peak[0]


def compare_recipes(bench, part, recipes, sentences):
    """Rows for `recipes`, each compared with the first."""
    found = alternate(part, recipes, bench.rounds, functools.partial(measure_training, bench, sentences))
    seconds = {recipe: np.array([entry[0] for entry in entries]) for recipe, entries in found.items()}
    rows = []
    for recipe, entries in found.items():
        rates = len(sentences.token_ids) / seconds[recipe]
        tokens = np.minimum(sentences.lengths, recipe.padded_length or max(sentences.lengths))
        row = functools.partial(figure, part, recipe.name, recipe.precision, rounds=bench.rounds)
        rows += [row("training", "sentences/s", rates),
                 row("real tokens", "tokens/s", np.median(rates) * np.mean(tokens)),
                 row("padding", "%", np.median([entry[1] for entry in entries])),
                 row("an epoch, from the rate", "s", len(bench.order) / np.median(rates)),
                 row("peak memory", "MiB", np.median([entry[2] for entry in entries])),
                 row("speed-up", "times", seconds[recipes[0]] / seconds[recipe])]
    return rows


def compare(bench):
    return compare_recipes(bench, "compare", [Recipe(), *bench.ours()], bench.sample)


def padding(bench):
    lengths, rows = bench.corpus["train"].lengths, []
    for way, recipe in {"all to 64": Recipe(), "each batch to its longest": Recipe(batches="random order"),
                        "like lengths together: ours": OURS}.items():
        batches = bench.batches(recipe, lengths, torch.Generator().manual_seed(SEED))
        share = padded_share(batches, lengths, recipe.padded_length)
        rows.append(figure("padding", way, "any", "padding of an epoch", "%", 100 * share))
    return rows


def ladder(bench):
    recipes = [Recipe()]
    for name, change in {
            "+ each batch padded to its longest": {"batches": "random order"},
            "+ like lengths together": {"batches": "like lengths"},
            f"+ dropout {bench.dropout:g} instead of 0.1": {"own_dropout": True},
            "+ fused AdamW, weight decay for matrices only": {"own_optimizer": True},
            "+ the loss is not asked for at every step": {"asks_for_loss": False}}.items():
        recipes.append(dataclasses.replace(recipes[-1], name=name, **change))
    recipes += [dataclasses.replace(recipe, name="+ the notebook's loop: ours") for recipe in bench.ours()[:1]]
    if "bf16" in bench.precisions:
        recipes.append(dataclasses.replace(recipes[-1], name="+ bf16", precision="bf16", own_attention=False))
    if "bf16" in bench.precisions and bench.device.type == "cpu":
        recipes.append(dataclasses.replace(recipes[-1], name="+ plain attention: ours", own_attention=True))
    rows = compare_recipes(bench, "ladder", recipes, bench.half)
    kept = [row for row in rows if row["figure"] in ("training", "padding", "speed-up")]
    return kept + evaluation(bench)


def evaluation(bench):
    sentences, model = bench.half, bench.make_model(OURS)
    fixed, predict_logits = copied_batches(sentences, bench.tokenizer), bench.definitions.predict_logits
    given = model, sentences.token_ids, bench.tokenizer
    ways = {"copied recipe": lambda: copied_logits(model, fixed),
            "+ sorted by length, 64 a batch": lambda: torch.no_grad()(predict_logits.__wrapped__)(*given),
            "+ inference mode: ours": lambda: predict_logits(*given)}

    def measure(way, _):
        start = bench.now()
        ways[way]()
        return bench.now() - start

    predict_logits(*given)  # to warm up
    found = alternate("evaluation", ways, bench.rounds, measure)
    first = np.array(found["copied recipe"])
    return [row for way, seconds in found.items() for row in (
        figure("evaluation", way, "fp32", "evaluation", "sentences/s", len(sentences.token_ids) / np.array(seconds)),
        figure("evaluation", way, "fp32", "speed-up", "times", first / np.array(seconds)))]


def growth(bench):
    training = Training(bench, dataclasses.replace(OURS, precision=bench.precision), total_steps=10**6)
    whole, seconds = bench.corpus["train"], {factor: [] for factor in FACTORS if factor <= bench.options.largest}
    counts = {factor: max(1, round(factor * len(bench.order))) for factor in seconds}
    training.epoch(bench.half, SEED)  # to warm up
    while waiting := [factor for factor in seconds if sum(seconds[factor]) < SECONDS_A_POINT]:
        for factor in waiting:
            print(f"growth: {FACTORS[factor]} of the corpus", file=sys.stderr, flush=True)
            sentences = whole.take((bench.order * int(np.ceil(factor)))[:counts[factor]])
            seconds[factor].append(training.epoch(sentences, len(seconds[factor]))[0])
    each = {factor: np.median(seconds[factor]) / counts[factor] for factor in seconds}
    middle, rows = np.median(list(each.values())), []
    for factor, measured in seconds.items():
        row = functools.partial(figure, "growth", FACTORS[factor], bench.precision, rounds=len(measured))
        rows += [row("sentences", "", counts[factor]), row("an epoch", "s", measured),
                 row("a sentence", "ms", 1000 * each[factor]),
                 row("from the median of a sentence", "%", 100 * (each[factor] / middle - 1)),
                 row("epochs measured", "", len(measured))]
    return rows


def length(bench):
    training = Training(bench, dataclasses.replace(OURS, precision=bench.precision), total_steps=10**6)
    generator, steps, batch = torch.Generator().manual_seed(SEED), {}, list(range(BATCH_SIZE))
    labels = torch.arange(BATCH_SIZE, device=bench.device) % 2
    token_ids = torch.randint(1000, bench.config.vocab_size, (BATCH_SIZE, max(LENGTHS)), generator=generator).tolist()

    def measure(tokens, _):
        sentences = Sentences([ids[:tokens] for ids in token_ids], labels)

        def seconds(count):
            start = bench.now()
            training.run_own_loop(sentences, [batch] * count)
            return bench.now() - start

        if tokens not in steps:
            seconds(1)  # to warm up
            steps[tokens] = int(np.clip(np.ceil(1 / seconds(1)), 1, 100))
        return seconds(steps[tokens]) / steps[tokens]

    rows = []
    for tokens, seconds in alternate("length", LENGTHS, bench.rounds, measure).items():
        row = functools.partial(figure, "length", f"{tokens} tokens", bench.precision, rounds=bench.rounds)
        rows += [row("a step of 32 sentences", "ms", 1000 * np.array(seconds)),
                 row("a sentence", "ms", 1000 * np.median(seconds) / BATCH_SIZE),
                 row("a token", "µs", 1e6 * np.median(seconds) / BATCH_SIZE / tokens)]
    return rows


def training_flops(config, lengths, labels=2):
    """Floating-point operations of a training step on sentences of these `lengths` (tokens), without padding.

    Those of the matrix products: the four of attention and the two of the feed-forward part of each layer, the
    products of queries, keys and values, pooler and classifier. The backward pass takes twice those of the forward.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    weights = layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    lengths = np.asarray(lengths, dtype=float)
    forward = (2 * weights * lengths + 4 * layers * hidden * lengths**2 + 2 * hidden * (hidden + labels)).sum()
    return 3 * float(forward)


def matrix_product_rate(bench, precision):
    """Floating-point operations a second of a large square matrix product."""
    size, times = (8192, 20) if bench.device.type == "cuda" else (4096, 1)
    left, right = torch.randn(2, size, size, device=bench.device, dtype=FORMATS[precision])
    left @ right  # to warm up
    start = bench.now()
    for _ in range(times):
        left @ right
    return 2 * size**3 * times / (bench.now() - start)


def limit(bench):
    cases = {recipe.precision: recipe for recipe in bench.ours()}
    sentences, lengths = bench.sample, bench.sample.lengths
    flops = training_flops(bench.config, lengths)

    def measure(precision, number):
        return matrix_product_rate(bench, precision), measure_training(bench, sentences, cases[precision], number)[0]

    rows = []
    for precision, entries in alternate("limit", cases, bench.rounds, measure).items():
        rates, seconds = np.array(entries).T
        row = functools.partial(figure, "limit", "ours", precision, rounds=bench.rounds)
        rows += [row("matrix product", "GFLOP/s", rates / 1e9),
                 row("a sentence needs", "GFLOP", flops / len(lengths) / 1e9),
                 row("limit", "sentences/s", len(lengths) / flops * np.median(rates)),
                 row("training", "sentences/s", len(lengths) / seconds),
                 row("reached", "GFLOP/s", flops / seconds / 1e9),
                 row("share of the limit", "%", 100 * flops / seconds / rates)]
    for recipe in cases.values():
        print(f"limit: where the time goes, {recipe.precision}", file=sys.stderr, flush=True)
        for part, shares in {"stages": stages(bench, recipe), "profile": profile(bench, recipe)}.items():
            rows += [figure(part, "ours", recipe.precision, name, "%", 100 * share) for name, share in shares.items()]
    return rows


def stages(bench, recipe):
    """Share of the clock time that each stage of the notebook's training loop takes: a dict."""
    training, spent = Training(bench, recipe), {}
    training.epoch(bench.half, SEED)  # to warm up

    def timed(name, function):
        def run(*arguments, **options):
            start = bench.now()
            result = function(*arguments, **options)
            spent[name] = spent.get(name, 0) + bench.now() - start
            return result
        return run

    with contextlib.ExitStack() as stack:
        for name, (owner, method) in {
                "padding": (bench.tokenizer, "pad"), "forward pass": (training.model, "forward"),
                "backward pass": (torch.Tensor, "backward"), "clipping": (torch.nn.utils, "clip_grad_norm_"),
                "AdamW": (training.optimizer, "step"), "zero_grad": (training.optimizer, "zero_grad")}.items():
            stack.enter_context(mock.patch.object(owner, method, timed(name, getattr(owner, method))))
        seconds, _ = training.epoch(bench.half, SEED + 1)
    return {name: value / seconds for name, value in spent.items()} | {"the rest": 1 - sum(spent.values()) / seconds}


KINDS = {"matrix products": r"aten::(addmm|mm|bmm|baddbmm|_addmm_activation|addbmm)$|mkldnn.*linear",
         "attention": r"attention|softmax",
         "AdamW": r"_fused_adamw|Optimizer\.step",
         "clipping": r"_foreach_(norm|mul)|linalg_vector_norm|aten::(stack|clamp)$",
         "embeddings' gradient": r"embedding_dense_backward|aten::(fill_|zero_)$",
         "GELU": r"gelu", "LayerNorm": r"layer_norm", "copies, number formats": r"aten::(copy_|_to_copy|to)$",
         "other operators": ""}


def profile(bench, recipe):
    """Share of the clock time that each kind of operator takes by itself, as torch.profiler sees it: a dict."""
    training = Training(bench, recipe)
    training.epoch(bench.half, SEED)  # to warm up
    on_cuda = bench.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * on_cuda
    few = bench.half.take(range(min(8 * BATCH_SIZE, len(bench.half.token_ids))))
    with torch.profiler.profile(activities=activities) as profiler:
        seconds, _ = training.epoch(few, SEED + 1)
    shares = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        if event.device_type == torch.autograd.DeviceType.CPU:  # a kernel's time is counted with its operator
            kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, event.key))
            shares[kind] += (event.self_device_time_total if on_cuda else event.self_cpu_time_total) / 1e6 / seconds
    return shares | {"outside of operators": 1 - sum(shares.values())}


def stream(bench):
    source = programs_of_notebook(nbformat.read(NOTEBOOK, as_version=4))["stream.py"]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "table.tsv"
        for what, count in {"40 thousand rows": 40_000, "a million rows": 1_000_000}.items():
            write_large_table(path, count)
            environment = os.environ | {"ENCODER": str(bench.folder), "TABLE": str(path)}
            run = subprocess.run([sys.executable, "-c", source], env=environment, stdout=subprocess.PIPE, text=True,
                                 check=True)
            report, row = json.loads(run.stdout), functools.partial(figure, "stream", what, "any")
            rows += [row("file", "MB", path.stat().st_size / 1e6), row("memory", "MiB", report["memory MiB"]),
                     row("read", "s", report["seconds"]), row("padding", "%", 100 * report["padded share"]),
                     row("its rows as Python lists", "MiB", memory_of_lists(path))]
    return rows


def measure_compile(bench):
    recipe, sentences = dataclasses.replace(OURS, precision=bench.precision), bench.half
    plain, compiled = trainings = Training(bench, recipe), Training(bench, recipe)
    passes = 2  # with other batches each, as some lengths are translated anew
    plain.epoch(sentences, 0)  # to warm up
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
            mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):  # else what an earlier run left would be used
        compiled.model.compile(dynamic=True)
        try:
            first = sum(compiled.epoch(sentences, seed)[0] for seed in range(passes))
        except RuntimeError as error:  # such as a missing C++ compiler
            print(f"compile: not measured, torch.compile fails here: {error}", file=sys.stderr)
            return []
        found = alternate("compile", trainings, bench.rounds,
                          lambda training, number: training.epoch(sentences, passes + number)[0])
    seconds, rows = {training: np.array(values) for training, values in found.items()}, []
    for training, name in {plain: "ours", compiled: "ours with torch.compile"}.items():
        row = functools.partial(figure, "compile", name, recipe.precision, rounds=bench.rounds)
        rows += [row("training", "sentences/s", len(sentences.token_ids) / seconds[training]),
                 row("speed-up", "times", seconds[plain] / seconds[training])]
    compiling = first - passes * np.median(seconds[compiled])
    saved_an_epoch = np.median(seconds[plain] - seconds[compiled]) * len(bench.order) / len(sentences.token_ids)
    rows.append(row("compiling", "s", compiling))
    return rows + [row("pays after", "epochs", compiling / saved_an_epoch)] * bool(saved_an_epoch > 0)


def quality(bench):
    """Full trainings; the rows of each are kept as soon as it is over, so none are returned."""
    definitions, epochs, share = bench.definitions, bench.options.epochs, bench.options.share
    used = bench.order[:int(np.ceil(share * len(bench.order)))]
    corpus = bench.corpus | {"train": bench.corpus["train"].take(used)}
    truth = {part: sentences.labels.cpu().numpy() for part, sentences in corpus.items()}
    fixed = {part: copied_batches(corpus[part], bench.tokenizer) for part in ("dev", "test")}

    def copied_mcc(model, part):
        probabilities = special.softmax(copied_logits(model, fixed[part]).astype(float), axis=1)[:, 1]
        return definitions.score(truth[part], probabilities)["MCC"]

    def train_copied(recipe, seed):
        training, best = Training(bench, recipe, steps, seed), (-2, None)
        for epoch in range(epochs):
            training.epoch(corpus["train"], 1000 * seed + epoch)
            dev = copied_mcc(training.model, "dev")
            if dev > best[0]:  # the epoch is chosen by the dev MCC, as in ours
                best = dev, copied_mcc(training.model, "test")
        return best

    def train_ours(recipe, seed):
        model = bench.make_model(recipe, seed)
        token_ids, labels = ({part: getattr(sentences, field) for part, sentences in corpus.items()}
                             for field in ("token_ids", "labels"))
        with bench.as_in_notebook():
            log, _ = definitions.fine_tune(model, bench.tokenizer, token_ids, labels,
                                           bench.settings(recipe, seed, epochs))
            probabilities = definitions.predict(model, token_ids["test"], bench.tokenizer)
        return log["dev MCC"].max(), definitions.score(truth["test"], probabilities)["MCC"]

    def train_by_trainer(_, seed):
        with tempfile.TemporaryDirectory() as place:
            tables = definitions.read_corpus(bench.options.corpus)
            tables["train"] = tables["train"].iloc[used]
            for part, name in definitions.FILES.items():
                lines = tables[part][["source", "label", "mark", "sentence"]].astype(str).agg("\t".join, axis=1)
                (Path(place) / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
            source = programs_of_notebook(nbformat.read(NOTEBOOK, as_version=4))["train.py"]
            environment = {"ENCODER": str(bench.folder), "CORPUS": ".", "OUTPUT": "out", "EPOCHS": str(epochs),
                           "SEED": str(seed), "OMP_NUM_THREADS": str(torch.get_num_threads())}
            run = subprocess.run([sys.executable, "-c", source], cwd=place, env=os.environ | environment,
                                 stdout=subprocess.PIPE, text=True, check=True)
        report = json.loads(run.stdout.splitlines()[-1])
        return report["dev MCC"], report["test MCC"]

    steps = epochs * int(np.ceil(len(used) / BATCH_SIZE))
    length_of_training = f"{epochs} epochs" + f" on {share:.0%} of the sentences" * (share < 1)
    of_trainer = Recipe("the Trainer", precision="bf16" if torch.cuda.is_available() else "fp32")
    cases = {Recipe(): train_copied} | dict.fromkeys(bench.ours(), train_ours) | {of_trainer: train_by_trainer}
    for seed in bench.options.seeds:
        for recipe, train in cases.items():
            print(f"quality: {recipe.name}, {recipe.precision}, {seed=}", file=sys.stderr, flush=True)
            start = bench.now()
            dev, test = train(recipe, seed)
            what = f"{recipe.name}, {length_of_training}, seed {seed}"
            row = functools.partial(figure, "quality", what, recipe.precision)
            keep([row("MCC in-domain dev", "", dev), row("MCC out-of-domain", "", test),
                  row("training and evaluation", "min", (bench.now() - start) / 60)], bench, ["what", "precision"])
    return []


# --- the table of figures -----------------------------------------------------------------------

PARTS = {"compare": compare, "padding": padding, "ladder": ladder, "growth": growth, "length": length,
         "limit": limit, "stream": stream, "compile": measure_compile, "quality": quality}
TITLES = {  # of all tables; the part ladder makes two of them, and limit three
    "compare": "The copied recipe and ours (memory: by how much the process grew; on a GPU, the peak of the tensors)",
    "padding": "Share of padding in an epoch of the whole corpus",
    "ladder": "From the copied recipe to ours, one change at a time",
    "evaluation": "The same for the evaluation",
    "growth": "Time of an epoch against the number of sentences (beyond the corpus, they are repeated)",
    "length": "Time of a training step against the length of the sentences",
    "limit": "The distance to the limit: operations that the real tokens need over the rate of a large matrix product",
    "stages": "Share of the clock time of each stage of the training loop",
    "profile": "Share of the clock time of each kind of operator, as torch.profiler sees it, which slows the rest down",
    "stream": "A corpus that is streamed in batches of at most 512 tokens, without training, in one process",
    "compile": "torch.compile",
    "quality": "Full trainings with both recipes and with the Trainer, the epoch chosen by the dev MCC"}


def recorded(path=RESULTS):
    """The figures kept in the file at `path`, a DataFrame with a row each."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(path, keep_default_na=False, na_values={"lowest": [""], "highest": [""]})


def keep(rows, bench, further_keys=()):
    """Put `rows` into the table in place of those of the same part, corpus, encoder and device (and `further_keys`).

    The file is whole at any time.
    """
    path, keys = bench.options.results, ["part", "corpus", "encoder", "device", *further_keys]
    made = {"threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": transformers.__version__,
            "date": str(date.today())}
    new, old = pd.DataFrame([row | bench.named | made for row in rows], columns=COLUMNS), recorded(path)
    if not old.empty:
        is_replaced = pd.MultiIndex.from_frame(old[keys]).isin(pd.MultiIndex.from_frame(new[keys]))
        new = pd.DataFrame(old[~is_replaced].to_dict("records") + new.to_dict("records"), columns=COLUMNS)
    new = new.sort_values(["part", "corpus", "encoder", "device"], kind="stable",
                          key=lambda column: column.map(list(TITLES).index) if column.name == "part" else column)
    new.to_csv(path.with_suffix(".part"), index=False, float_format="%.6g", lineterminator="\n")
    path.with_suffix(".part").replace(path)


def over_seeds(rows):
    """Rows of the part quality with the mean, the lowest and the highest over the seeds as one."""
    rows = rows.assign(what=rows["what"].str.replace(r", seed \d+$", "", regex=True))
    groups = rows.groupby(["what", "precision", "figure", "unit"], sort=False)["value"]
    return groups.agg(value="mean", lowest="min", highest="max", rounds="count").reset_index()


def shown(row):
    """The value of a row as text, with the lowest and the highest if there were several."""
    decimals = 3 if row["figure"].startswith("MCC") else 0 if row["value"] >= 100 or row["unit"] == "" else 1
    ends = "" if pd.isna(row["lowest"]) else f" ({row['lowest']:.{decimals}f} to {row['highest']:.{decimals}f})"
    return f"{row['value']:.{decimals}f}{ends}"


def table(*parts, path=RESULTS):
    """The figures of `parts` (of all, without), as tables in Markdown."""
    lines = []
    for keys, rows in recorded(path).groupby(["part", "corpus", "encoder", "device", "threads"], sort=False):
        part, corpus, encoder, device, threads = keys
        if parts and part not in parts:
            continue
        rows = over_seeds(rows) if part == "quality" else rows
        repeats, of_what = set(rows.loc[rows["highest"].notna(), "rounds"]), "the mean of {} seeds, the ends"
        of_what = of_what if part == "quality" else "the median of {} rounds, the lowest and the highest"
        said = f"; {of_what.format(min(repeats))} in brackets" if len(repeats) == 1 and max(repeats) > 1 else ""
        cells = rows.assign(cell=rows.apply(shown, axis=1), unit=rows["unit"].map(lambda unit: unit and f" ({unit})"))
        cells = cells.assign(case=cells["what"] + ", " + cells["precision"], figure=cells["figure"] + cells["unit"])
        cells = cells.pivot(index="case", columns="figure", values="cell").loc[
            cells["case"].unique(), cells["figure"].unique()].fillna("–")
        lines += [f"{TITLES[part]}. {corpus}, {encoder}, {device}, {threads} thread(s){said}.", "",
                  f"| | {' | '.join(cells.columns)} |", "|---" * (1 + len(cells.columns)) + "|"]
        lines += [f"| {case} | {' | '.join(row)} |" for case, row in zip(cells.index, cells.to_numpy())] + [""]
    return "\n".join(lines).rstrip("\n")


def main():
    def at_least_one(text):
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 upwards is needed")
        return int(text)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all but quality)")
    parser.add_argument("--rounds", type=at_least_one, default=5, help="measurements of each (default: %(default)s)")
    parser.add_argument("--sentences", type=at_least_one, default=1024,
                        help="how many a round takes; half of them in ladder and compile (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, default=REPOSITORY / "data",
                        help="folder or zip in CoLA's format, or a .tsv as the notebook takes it (default: our own)")
    parser.add_argument("--encoder", default="minilm", help="folder of a BERT (default: %(default)s, the notebook's)")
    parser.add_argument("--architecture", choices=["bert-base"], help="a BERT at random weights instead, for its speed")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the accelerator, if there is one)")
    parser.add_argument("--largest", type=float, choices=list(FACTORS), default=8, metavar="TIMES",
                        help="last point of growth, in times the corpus: 0.125, 0.25, … 8 (default: %(default)g)")
    parser.add_argument("--epochs", type=at_least_one, default=4, help="of quality (default: %(default)s)")
    parser.add_argument("--seeds", type=at_least_one, nargs="+", default=[1, 2, 3], help="of quality (default: 1 2 3)")
    parser.add_argument("--share", type=float, default=1, help="of the training sentences, for quality (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the figures (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="print the figures recorded so far and do nothing else")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"{unknown[0]}: no such part; there are {', '.join(PARTS)}")
    if options.table:
        print(table(path=options.results))
        return
    if not 0 < options.share <= 1:
        parser.error(f"--share {options.share}: a number above 0 and up to 1 is needed")
    if options.architecture and "quality" in options.parts:
        parser.error("quality needs a pretrained encoder: leave out --architecture")
    if not options.results.resolve().parent.is_dir():
        parser.error(f"--results {options.results}: there is no such folder")
    known = torch.accelerator.current_accelerator(check_available=True)
    options.device = options.device or (known.type if known else "cpu")
    if options.device not in ("cpu", known and known.type):
        parser.error(f"--device {options.device}: not here; there is cpu{f' and {known.type}' if known else ''}")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in the notebook
    try:
        bench = Bench(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for part in options.parts or [part for part in PARTS if part != "quality"]:
        if rows := PARTS[part](bench):
            keep(rows, bench)
        made = {row["part"] for row in rows} | {part}
        print(table(*made, path=options.results), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
