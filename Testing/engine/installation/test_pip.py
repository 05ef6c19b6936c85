"""What the real pip writes where the network fails is recognised, and what is tried in a process of its own."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from medtl.installation.pip import Pip, Problem, kind_of


class AskingProxy(BaseHTTPRequestHandler):
    """Answers everything with 407."""

    def do_CONNECT(self) -> None:
        self.send_error(407, "Proxy Authentication Required")

    do_GET = do_CONNECT  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    """The address of a proxy on this computer that asks for a name and a password."""
    with HTTPServer(("127.0.0.1", 0), AskingProxy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def closed() -> str:
    """An address on this computer where nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


def problem(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Problem:
    """What is wrong when a package is looked for in this environment."""
    for name in os.environ:
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    given = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "PIP_INDEX_URL": "https://index.invalid/simple"}
    for name, value in {**given, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Problem) as caught:
        Pip(lambda **record: None).run(["install", "--dry-run", "medtl-no-such-package"], "look", "it")
    return caught.value


def test_a_proxy_that_asks_for_a_password_is_named(proxy, monkeypatch):
    found = problem(monkeypatch, HTTPS_PROXY=proxy)
    assert (found.kind, found.what) == ("proxy", "it")


def test_a_proxy_that_is_not_there_is_a_problem_of_the_network(closed, monkeypatch):
    assert problem(monkeypatch, HTTPS_PROXY=closed).kind == "network"


def test_a_server_that_is_not_there_is_a_problem_of_the_network(closed, monkeypatch):
    assert problem(monkeypatch, PIP_INDEX_URL=f"{closed}/simple").kind == "network"


def test_a_download_of_407_kilobytes_is_no_proxy():
    assert kind_of("Downloading timm-1.0.9-py3-none-any.whl (407 kB)\nERROR: no such option") == "pip"


def test_modules_that_cannot_be_imported_are_named_by_their_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, code in {"good": "", "bad": "raise RuntimeError('no nms')", "deadly": "import os; os._exit(7)"}.items():
        (tmp_path / f"{name}.py").write_text(code)
    pip = Pip(lambda **record: None)
    pip.try_imports({"a-good-one": "good"})
    pip.try_imports({})
    cases = {"bad-one": ("bad", "RuntimeError: no nms"), "deadly-one": ("deadly", "exit status 7")}
    for package, (module, reason) in cases.items():
        with pytest.raises(Problem) as caught:
            pip.try_imports({"a-good-one": "good", package: module})
        assert (caught.value.kind, caught.value.what, caught.value.reason) == ("import", package, reason)
