"""The program that measures speed: what it compares, what it writes, and the tables of the README made from it."""
import re
import sys
from types import SimpleNamespace

import benchmark
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from conftest import REPOSITORY, copy_first_rows
from torch.utils.flop_counter import FlopCounterMode

PROGRAM = REPOSITORY / "tests" / "benchmark.py"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return benchmark.Bench(SimpleNamespace(
        device="cpu", corpus=REPOSITORY / "data", encoder="minilm", architecture=None, rounds=1, sentences=2000,
        results=tmp_path_factory.mktemp("figures") / "benchmark.csv"))


def test_the_copied_recipe_pads_every_sentence_to_64_tokens(bench):
    sentences = bench.sample.take(range(100))
    batches = list(benchmark.copied_batches(sentences, bench.tokenizer, torch.Generator().manual_seed(0)))
    assert [tuple(ids.shape) for ids, _, _ in batches] == [(32, 64)] * 3 + [(4, 64)]
    assert sum(int(mask.sum()) for _, mask, _ in batches) == sum(sentences.lengths)
    assert sum(int(labels.sum()) for _, _, labels in batches) == int(sentences.labels.sum())


def test_the_copied_recipe_sees_every_sentence_once_in_random_order(bench):
    sentences = bench.sample.take(range(100))
    in_order, shuffled = (
        torch.cat([ids for ids, _, _ in benchmark.copied_batches(sentences, bench.tokenizer, generator)])
        for generator in (None, torch.Generator().manual_seed(0)))
    assert sorted(in_order.tolist()) == sorted(shuffled.tolist()) and not torch.equal(in_order, shuffled)
    assert in_order[0, :sentences.lengths[0]].tolist() == sentences.token_ids[0]


def test_ours_pads_little(bench):
    lengths = bench.corpus["train"].lengths
    batches = bench.definitions.make_batches(lengths, 32, torch.Generator().manual_seed(0))
    assert 0 < benchmark.padded_share(batches, lengths) <= 0.05
    assert benchmark.padding(bench)[-1]["value"] <= 5 < benchmark.padding(bench)[0]["value"]


def test_the_padded_share_is_that_of_the_padded_batches():
    assert benchmark.padded_share([[0, 1], [2]], [2, 4, 7]) == pytest.approx(2 / 15)


def test_the_learning_rates_and_dropouts_are_those_of_the_notebook(bench, notebook):
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert "(7e-5 if is_small else 2e-5)" in sources and "0.0 if is_small else 0.1" in sources
    assert (bench.learning_rate, bench.dropout) == (7e-5, 0.0)


def test_the_recipes_have_the_dropout_and_the_optimizer_that_they_say(bench):
    copied, ours = (benchmark.Training(bench, recipe) for recipe in (benchmark.Recipe(), benchmark.OURS))
    assert [training.model.config.hidden_dropout_prob for training in (copied, ours)] == [0.1, 0.0]
    assert [training.optimizer.defaults["fused"] for training in (copied, ours)] == [False, True]
    assert [len(training.optimizer.param_groups) for training in (copied, ours)] == [1, 2]


@pytest.mark.parametrize("tokens", [12, 40])
def test_the_operations_are_those_that_torch_counts(bench, tokens):
    model = transformers.BertForSequenceClassification.from_pretrained(
        bench.folder, num_labels=2, attn_implementation="eager")  # of the fused kernels torch counts only some
    sentences = [(ids * tokens)[:tokens] for ids in bench.sample.token_ids[:4]]
    batch = bench.tokenizer.pad({"input_ids": sentences}, return_tensors="pt")
    with FlopCounterMode(display=False) as counter:
        model(**batch, labels=torch.zeros(4, dtype=torch.long)).loss.backward()
    assert benchmark.training_flops(model.config, [tokens] * 4) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_run_writes_its_rows_and_nothing_else(tmp_path, monkeypatch, capsys):
    """A real run, of 32 sentences."""
    copy_first_rows(tmp_path)
    before = set(tmp_path.iterdir())
    results = tmp_path / "benchmark.csv"
    monkeypatch.setattr(benchmark, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), "compare", "--rounds", "1", "--sentences", "32", "--device", "cpu",
                                      "--corpus", str(tmp_path), "--results", str(results)])
    benchmark.main()
    assert set(tmp_path.iterdir()) - before == {results}
    rows = pd.read_csv(results)
    assert list(rows.columns) == benchmark.COLUMNS
    assert set(rows["part"]) == {"compare"} and set(rows["what"]) == {"copied recipe", "ours"}
    assert len(rows) == 6 * rows.groupby(["what", "precision"]).ngroups
    assert rows.drop(columns=["lowest", "highest"]).notna().all(axis=None) and (rows["value"] > 0).all()
    padding = rows[rows["figure"] == "padding"].set_index("what")["value"]
    assert padding["copied recipe"] > 60 > padding["ours"].max()
    assert capsys.readouterr().out.strip() == benchmark.table(path=results)


def row(part, what, value, figure="training", **others):
    return benchmark.figure(part, what, "fp32", figure, "sentences/s", value) | others


def test_a_part_measured_again_replaces_its_rows_only(bench):
    path = bench.options.results
    benchmark.keep([row("ladder", "a", [1, 2, 9]), row("ladder", "b", 2)], bench)
    benchmark.keep([row("compare", "a", 3)], bench)
    benchmark.keep([row("ladder", "c", [4, 5])], bench)
    elsewhere = SimpleNamespace(options=bench.options, named=bench.named | {"device": "another"})
    benchmark.keep([row("ladder", "d", 6)], elsewhere)
    kept = benchmark.recorded(path)
    assert kept["what"].tolist() == ["a", "c", "d"] and kept["value"].tolist() == [3, 4.5, 6]
    assert "| c, fp32 | 4.5 (4.0 to 5.0) |" in benchmark.table("ladder", path=path)
    assert "| a, fp32 | 3.0 |" in benchmark.table(path=path)
    assert "| a, fp32 |" not in benchmark.table("ladder", path=path)
    assert not path.with_suffix(".part").exists()


def test_scores_are_averaged_over_the_seeds(bench, tmp_path):
    place = SimpleNamespace(options=SimpleNamespace(results=tmp_path / "benchmark.csv"), named=bench.named)
    for seed, score in {1: 0.1, 2: 0.3, 10: 0.2}.items():
        for value in (0.9, score):  # the second replaces the first
            benchmark.keep([row("quality", f"ours, seed {seed}", value, "MCC", unit="")], place, ["what", "precision"])
    assert "| ours, fp32 | 0.200 (0.100 to 0.300) |" in benchmark.table(path=place.options.results)


@pytest.mark.parametrize("arguments, remedy", [
    (["no-such"], "no-such: no such part; there are compare, padding, ladder"),
    (["compare", "--rounds", "-1"], "-1"),
    (["--rounds", "0"], "a whole number from 1 upwards"),
    (["--device", "abacus"], "abacus: not here; there is cpu"),
    (["--corpus", "no_such_folder"], "no_such_folder: not found; give"),
    (["--encoder", "no_such_folder"], "no_such_folder: no such folder; give"),
    (["--sentences", "1000000"], "the corpus has only"),
    (["quality", "--architecture", "bert-base"], "leave out --architecture"),
    (["--share", "0"], "--share 0.0: a number above 0"),
    (["--results", "no_such_folder/benchmark.csv"], "there is no such folder"),
])
def test_bad_input_is_named(monkeypatch, capsys, arguments, remedy):
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *arguments])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 2 and remedy in capsys.readouterr().err


@pytest.mark.skipif(not benchmark.RESULTS.exists(), reason="nothing is measured yet: run tests/benchmark.py")
def test_the_tables_of_the_readme_are_made_from_the_recorded_figures():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    parts = benchmark.recorded()["part"].unique()
    assert len(parts) and [part for part in parts if benchmark.table(part) not in readme] == []
    assert np.isfinite(benchmark.recorded()["value"]).all()


@pytest.mark.skipif(not benchmark.RESULTS.exists(), reason="nothing is measured yet: run tests/benchmark.py")
def test_the_table_of_the_notebook_is_made_from_the_recorded_figures(notebook):
    steps = benchmark.table("ladder").split("\n\nThe same for the evaluation")[0]
    assert [cell.cell_type for cell in notebook.cells if steps in cell.source] == ["markdown"]


def recorded_figures():
    """All numbers of the tables, and the whole numbers nearest to them, as they are quoted; scores of recorded runs."""
    numbers = re.findall(r"\d+(?:\.\d+)?", benchmark.table())
    scores = pd.read_csv(REPOSITORY / "data" / "experiments.csv")[["dev MCC", "test MCC"]].to_numpy().flat
    return set(numbers) | {f"{float(number):.0f}" for number in numbers} | {f"{score:.3f}" for score in scores}


def figures_in(text):
    """The numbers of a text that carry a unit of the benchmark, and all with three decimals; without tables and code."""
    prose = "\n".join(line for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines() if line[:1] != "|")
    units = "sentences a second|seconds|s|MiB|MB|billion|epochs"
    return re.findall(rf"\b\d+(?:\.\d+)?(?= (?:%|(?:{units})\b))|(?<![\w.])\d\.\d{{3}}(?!\d)", prose)


def test_figures_are_found_by_their_unit():
    text = "It takes 50 seconds, 64.5 %, 0.179 and 12 words.\n| 99 % |\n```\n88 MiB\n```"
    assert figures_in(text) == ["50", "64.5", "0.179"]


@pytest.mark.skipif(not benchmark.RESULTS.exists(), reason="nothing is measured yet: run tests/benchmark.py")
@pytest.mark.parametrize("start, end, mentions", [
    ("### What makes it quick", "## 7", 8), ("### More than one GPU", "### Questions", 11)], ids=["section 6", "section 14"])
def test_figures_in_the_notebook_on_speed_are_recorded(notebook, start, end, mentions):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = figures_in(text[text.index(start):text.index(end, text.index(start))])
    assert len(found) >= mentions and set(found) - recorded_figures() == set()


@pytest.mark.skipif(not benchmark.RESULTS.exists(), reason="nothing is measured yet: run tests/benchmark.py")
def test_figures_in_the_readme_on_speed_are_recorded():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = figures_in(readme[readme.index("## How fast it is"):readme.index("## Changing it")])
    goals_and_limits = {"5", "10", "30", "60"}
    assert len(found) >= 8 and set(found) - recorded_figures() - goals_and_limits == set()
