import ast
import contextlib
import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import REPOSITORY

CONTENT = b"source\t1\t\tThe ice melted.\n" * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()

ERRORS = {"missing": 404, "out of order": 500}
REDIRECTS = {"sends on to a log-in page": "/log-in", "sends on to plain http": "http://localhost:{port}/corpus.zip"}


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content` in the way named by `server.behaviour`."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        behaviour, content = self.server.behaviour, self.server.content
        self.server.requests.append(f"{self.command} {self.path}")
        if behaviour == "silent":
            self.server.closing.wait(60)
            return
        if behaviour in ERRORS:
            self.send_error(ERRORS[behaviour])
            return
        if behaviour in REDIRECTS and "log-in" not in self.path:
            self.send_response(302)
            self.send_header("Location", REDIRECTS[behaviour].format(port=self.server.server_port))
            self.end_headers()
            return
        if behaviour == "sends on to a log-in page":
            content = b"<html><form>Log in to use this network.</form></html>"
        self.send_response(200)
        self.send_header("Content-Length", len(content))
        self.end_headers()
        if with_body and behaviour == "stalls half-way":
            self.wfile.write(content[:len(content) // 2])
            self.server.closing.wait(60)
        elif with_body and behaviour == "sends a byte a second":
            for number in range(60):
                with contextlib.suppress(OSError):
                    self.wfile.write(content[number:number + 1])
                if self.server.closing.wait(1):
                    break
        elif with_body:
            self.wfile.write(content[:len(content) // 2] if behaviour == "cut half-way" else content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running_server(content, behaviour):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.behaviour, server.requests, server.closing = content, behaviour, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/corpus.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def serve(no_proxy):
    """A function that starts a server with a behaviour; it is shut down after the test."""
    contexts = []

    def start(behaviour="whole", content=CONTENT):
        contexts.append(running_server(content, behaviour))
        return contexts[-1].__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture
def bundled_files(definitions, tmp_path):
    for name in definitions.FILES.values():
        (tmp_path / name).write_text("a\t1\t\tThe ice melted.\n")
    return tmp_path


def test_a_file_is_fetched_whole(definitions, serve, tmp_path):
    path = definitions.download(serve().url, SHA256, tmp_path / "new")
    assert path == tmp_path / "new" / "corpus.zip"
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]


def test_a_kept_file_needs_no_server(definitions, serve, tmp_path):
    server = serve()
    first = definitions.download(server.url, SHA256, tmp_path)
    asked = len(server.requests)
    server.behaviour = "silent"
    assert definitions.download(server.url, SHA256, tmp_path) == first
    assert len(server.requests) == asked


def test_a_kept_file_that_is_not_whole_is_fetched_again(definitions, serve, tmp_path):
    (tmp_path / "corpus.zip").write_bytes(CONTENT[:1000])
    assert definitions.download(serve().url, SHA256, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour, content, error, words", [
    ("whole", CONTENT + b"more", ValueError, "corpus.zip"), ("missing", CONTENT, OSError, "404"),
    ("out of order", CONTENT, OSError, "500"), ("cut half-way", CONTENT, OSError, "incomplete|IncompleteRead"),
    ("sends on to a log-in page", CONTENT, ValueError, "corpus.zip"),
    ("sends on to plain http", CONTENT, OSError, "http://localhost"),
], ids=["other bytes", "404", "500", "cut half-way", "log-in page", "plain http"])
def test_a_failed_download_leaves_nothing_behind_and_the_next_heals_it(
        definitions, serve, tmp_path, behaviour, content, error, words):
    server = serve(behaviour, content)
    with pytest.raises(error, match=words):
        definitions.download(server.url, SHA256, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.behaviour, server.content = "whole", CONTENT
    assert definitions.download(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_a_failed_download_leaves_the_kept_file(definitions, serve, tmp_path):
    (tmp_path / "corpus.zip").write_bytes(b"of another version")
    with pytest.raises(ValueError):
        definitions.download(serve("whole", b"other bytes").url, SHA256, tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"of another version"]


def test_a_silent_server_is_given_up_within_ten_seconds(definitions, serve, tmp_path):
    url, start = serve("silent").url, time.monotonic()
    with pytest.raises(OSError, match=url):
        definitions.download(url, SHA256, tmp_path)
    assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_leaves_no_thread_that_keeps_the_process_from_ending(definitions, serve):
    before = set(threading.enumerate())
    assert not definitions.is_reachable(serve("silent").url, seconds=1)
    asking = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("ThreadPoolExecutor")]
    for thread in asking:
        thread.join(5)
    assert not any(thread.is_alive() for thread in asking)


def test_no_server_is_noticed_within_ten_seconds(definitions, closed_url, tmp_path):
    start = time.monotonic()
    with pytest.raises(OSError, match=closed_url):
        definitions.download(f"{closed_url}/corpus.zip", SHA256, tmp_path)
    assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["corpus.invalid", "255.255.255.255"], ids=["no DNS", "no route"])
def test_an_unknown_host_is_noticed_within_ten_seconds(definitions, monkeypatch, tmp_path, host):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    with pytest.raises(OSError, match=f"no answer from https://{host}/corpus.zip within"):
        definitions.download(f"https://{host}/corpus.zip", SHA256, tmp_path)
    assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []


def test_a_name_look_up_that_hangs_is_given_up(definitions, monkeypatch):
    released = threading.Event()

    def look_up(*_, **__):
        released.wait(60)
        raise socket.gaierror("no such name")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    start = time.monotonic()
    try:
        assert not definitions.is_reachable("https://corpus.invalid/", seconds=0.5)
        assert time.monotonic() - start < 3
    finally:
        released.set()


def test_a_server_that_stalls_half_way_is_given_up(definitions, serve, tmp_path):
    url, start = serve("stalls half-way").url, time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        definitions.download(url, SHA256, tmp_path)
    assert time.monotonic() - start < 20
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_a_byte_a_second_is_given_up(definitions, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(definitions.fetch, "__defaults__", (5,))
    url, start = serve("sends a byte a second").url, time.monotonic()
    with pytest.raises(OSError, match=f"{url} sends too slowly"):
        definitions.download(url, SHA256, tmp_path)
    assert time.monotonic() - start < 30
    assert list(tmp_path.iterdir()) == []


def test_a_minute_is_allowed_for_a_file(definitions):
    assert definitions.fetch.__defaults__ == (60,)


@pytest.mark.parametrize("behaviour, content", [("whole", b"a log-in page"), ("missing", CONTENT), ("cut half-way", CONTENT)],
                         ids=["other bytes", "404", "cut half-way"])
def test_auto_falls_back_on_the_bundled_corpus_and_says_why(definitions, serve, bundled_files, behaviour, content):
    before = sorted(bundled_files.iterdir())
    path, reason = definitions.find_corpus("auto", bundled_files, serve(behaviour, content).url)
    assert path == bundled_files and reason.startswith("CoLA is not to be had: ")
    assert sorted(bundled_files.iterdir()) == before


def test_cola_asked_for_and_not_to_be_had_is_an_error_with_a_remedy(definitions, serve, bundled_files):
    with pytest.raises(OSError, match="(?s)CoLA.*404.*name the file in CORPUS"):
        definitions.find_corpus("cola", bundled_files, serve("missing").url)


def test_missing_bundled_files_are_fetched(definitions, serve, bundled_files, monkeypatch):
    """On Colab there is only the notebook."""
    server = serve()
    monkeypatch.setattr(definitions, "BUNDLED_URL", server.url.replace("corpus.zip", ""))
    monkeypatch.setitem(definitions.BUNDLED_SHA256, "dev", SHA256)
    (bundled_files / definitions.FILES["dev"]).unlink()
    definitions.find_corpus("bundled", bundled_files)
    assert (bundled_files / definitions.FILES["dev"]).read_bytes() == CONTENT
    assert {request.split("/")[-1] for request in server.requests} == {definitions.FILES["dev"]}


@pytest.mark.parametrize("behaviour, words", [("whole", "does not match"), ("sends on to a log-in page", "does not match"),
                                              ("missing", "404"), ("cut half-way", "incomplete|IncompleteRead")])
def test_bundled_files_that_cannot_be_had_are_told_with_the_remedy(
        definitions, serve, bundled_files, monkeypatch, behaviour, words):
    """That is what a notebook meets that was started in another folder."""
    monkeypatch.setattr(definitions, "BUNDLED_URL", serve(behaviour).url.replace("corpus.zip", ""))
    (bundled_files / definitions.FILES["dev"]).unlink()
    before = sorted(bundled_files.iterdir())
    with pytest.raises(OSError, match=f"(?s){bundled_files} lacks in_domain_dev.tsv.*({words}).*in its own folder"):
        definitions.find_corpus("bundled", bundled_files)
    assert sorted(bundled_files.iterdir()) == before


def test_the_checksums_are_those_of_the_bundled_files(definitions):
    found = {part: hashlib.sha256((REPOSITORY / "data" / name).read_bytes()).hexdigest()
             for part, name in (definitions.FILES | {"runs": "experiments.csv"}).items()}
    assert definitions.BUNDLED_SHA256 == found


@pytest.fixture
def load_recorded_runs(definitions, notebook, tmp_path, monkeypatch):
    """A function that does, in an empty folder, what the notebook's section on many runs begins with: its table."""
    monkeypatch.chdir(tmp_path)
    cell = next(cell.source for cell in notebook.cells if cell.source.startswith('with remedy("data/experiments.csv'))
    first = ast.Module(ast.parse(cell).body[:1], type_ignores=[])

    def load(url):
        monkeypatch.setattr(definitions, "BUNDLED_URL", url)
        names = dict(vars(definitions))
        exec(compile(first, "<section 13>", "exec"), names)
        return names["runs"]
    return load


def test_recorded_runs_are_fetched_where_there_is_only_the_notebook(load_recorded_runs, serve, tmp_path):
    kept = REPOSITORY / "data" / "experiments.csv"
    server = serve(content=kept.read_bytes())
    runs = load_recorded_runs(server.url.replace("corpus.zip", ""))
    assert len(runs) == len(kept.read_text().splitlines()) - 1
    assert (tmp_path / "data" / "experiments.csv").read_bytes() == kept.read_bytes()
    server.behaviour = "silent"
    assert load_recorded_runs(server.url.replace("corpus.zip", "")).equals(runs)


@pytest.mark.parametrize("behaviour, words", [("whole", "does not match"), ("sends on to a log-in page", "does not match"),
                                              ("missing", "404"), ("silent", "no answer")])
def test_recorded_runs_that_cannot_be_had_are_told_with_the_remedy(load_recorded_runs, serve, tmp_path, behaviour, words):
    with pytest.raises(OSError, match=f"data/experiments.csv is not to be had.*({words}).*in its own folder"):
        load_recorded_runs(serve(behaviour).url.replace("corpus.zip", ""))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_to_is_told(definitions, serve, read_only):
    with read_only(list(definitions.FILES.values())) as folder:
        path, reason = definitions.find_corpus("auto", folder, serve().url)
        with pytest.raises(OSError, match="(?s)ermission.*name the file in CORPUS"):
            definitions.find_corpus("cola", folder, serve().url)
    assert path == folder and "ermission" in reason


def test_two_runs_may_download_at_once(definitions, serve, tmp_path):
    url, paths = serve().url, []
    runs = [threading.Thread(target=lambda: paths.append(definitions.download(url, SHA256, tmp_path))) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert paths == [tmp_path / "corpus.zip"] * 4 and list(tmp_path.iterdir()) == paths[:1]
    assert paths[0].read_bytes() == CONTENT


def test_the_real_corpus_is_read_whole(definitions, real_corpus):
    corpus = definitions.read_corpus(real_corpus)
    assert {part: len(table) for part, table in corpus.items()} == {"train": 8551, "dev": 527, "test": 516}
    shares = {part: round(table["label"].mean(), 3) for part, table in corpus.items()}
    assert shares == {"train": 0.704, "dev": 0.693, "test": 0.686}


@pytest.mark.parametrize("name", ["auto", "cola"])
def test_the_real_corpus_is_accepted_and_kept(definitions, serve, real_corpus, bundled_files, name):
    server = serve(content=real_corpus.read_bytes())
    path, reason = definitions.find_corpus(name, bundled_files, server.url)
    assert path == bundled_files / "corpus.zip" and reason.startswith("CoLA")
    assert path.read_bytes() == server.content
    server.behaviour = "silent"
    assert definitions.find_corpus(name, bundled_files, server.url) == (path, reason)
