"""Fetching a checkpoint, against a small server that speaks the hub's wire protocol."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coda_voice.errors import DownloadError, ModelLoadingError
from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.download import download, find_local

NAME = "kyutai/moshika-pytorch-bf16"
GATED = "nvidia/personaplex-7b-v1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4096 * 34  # 34 MiB: the hub's client writes 10 MiB at a time


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    cut_after: int | None = None
    """Bytes after which the connection breaks; each new request gets as many again."""
    status: int | None = None
    error_code: str = ""
    token: str | None = None
    url: str = ""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def gets(self, name: str) -> list[str | None]:
        return [r for method, path, r in self.asked if method == "GET" and path.endswith(name)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, *, with_body: bool) -> None:
        hub = self.hub
        if self.path != "/":
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
        if hub.status is not None and self.headers.get("authorization") != f"Bearer {hub.token}":
            return self.refuse(hub.status, hub.error_code)
        content = hub.files.get(self.path.partition("/resolve/main/")[2])
        if content is None:
            return self.refuse(404, "EntryNotFound")
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(match[1]) if match else 0
        self.send_response(206 if match else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content[:999]).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        if match:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not with_body:
            return None
        if hub.cut_after is None or len(content) - start <= hub.cut_after:
            self.wfile.write(content[start:])
            return None
        self.wfile.write(content[start : start + hub.cut_after])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        return None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    config = {"moshi_name": "moshi.safetensors", "mimi_name": "mimi.safetensors"}
    state = Hub(
        {
            "config.json": json.dumps(config).encode(),
            "moshi.safetensors": WEIGHTS,
            "mimi.safetensors": b"mimi" * 1000,
            "tokenizer_spm_32k_3.model": b"pieces",
            "README.md": b"not needed",
            "model.safetensors": b"not needed either",
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def plenty(folder: Path) -> int:
    return 10**12


def test_just_the_files_that_loading_needs(hub: Hub):
    seen: list[tuple[str, int, int]] = []
    folder = download(NAME, endpoint=hub.url, progress=lambda *args: seen.append(args))
    assert (folder / "moshi.safetensors").read_bytes() == WEIGHTS
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "mimi.safetensors",
        "moshi.safetensors",
        "tokenizer_spm_32k_3.model",
    ]
    assert ("moshi.safetensors", len(WEIGHTS), len(WEIGHTS)) in seen
    assert find_local(NAME) == folder


def test_into_a_folder_of_ones_own(hub: Hub, tmp_path: Path):
    folder = download(NAME, endpoint=hub.url, to=tmp_path / "mine")
    assert folder == tmp_path / "mine"
    assert (folder / "moshi.safetensors").read_bytes() == WEIGHTS
    assert find_local(NAME) is None


def test_a_second_time_nothing_is_fetched_again(hub: Hub):
    download(NAME, endpoint=hub.url)
    hub.asked.clear()
    download(NAME, endpoint=hub.url, free_space=lambda folder: 0)
    assert not [method for method, _, _ in hub.asked if method == "GET"]


def test_a_repository_without_a_configuration(hub: Hub):
    hub.files = {
        "model.safetensors": b"weights",
        "tokenizer-e351c8d8-checkpoint125.safetensors": b"mimi",
        "tokenizer_spm_32k_3.model": b"pieces",
    }
    assert len(list(download(NAME, endpoint=hub.url).iterdir())) == 3


def test_a_cut_connection_is_taken_up_where_it_broke(hub: Hub):
    hub.cut_after = 11_000_000
    folder = download(NAME, endpoint=hub.url)
    assert (folder / "moshi.safetensors").read_bytes() == WEIGHTS
    ranges = [r for r in hub.gets("moshi.safetensors") if r]
    assert len(ranges) == 3
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in ranges]
    assert starts == [10 * 2**20, 20 * 2**20, 30 * 2**20]


@pytest.mark.parametrize("own_folder", [False, True])
def test_an_interrupted_download_resumes_at_the_next_call(
    hub: Hub, tmp_path: Path, own_folder: bool
):
    to = tmp_path / "mine" if own_folder else None
    hub.files["config.json"] = b"{}"
    hub.files["tokenizer-e351c8d8-checkpoint125.safetensors"] = b""
    hub.files["model.safetensors"] = WEIGHTS
    hub.cut_after = 11_000_000
    original = Handler.answer

    def give_up_after_the_first(self: Handler, *, with_body: bool) -> None:
        original(self, with_body=with_body)
        if with_body and self.path.endswith("model.safetensors"):
            self.hub.cut_after = 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "answer", give_up_after_the_first)
        with pytest.raises(DownloadError, match="run the same command again") as caught:
            download(NAME, endpoint=hub.url, to=to)
    assert caught.value.error_code == "hub_unreachable"

    hub.cut_after = None
    hub.asked.clear()
    folder = download(NAME, endpoint=hub.url, to=to)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    (resumed,) = hub.gets("model.safetensors")
    assert resumed is not None, "the second call started anew"
    assert resumed == f"bytes={10 * 2**20}-"


@pytest.mark.parametrize("status", [401, 403])
def test_a_licence_that_is_not_accepted(hub: Hub, status: int):
    hub.status, hub.error_code = status, "GatedRepo"
    with pytest.raises(DownloadError) as caught:
        download(GATED, endpoint=hub.url)
    assert caught.value.error_code == "licence_not_accepted"
    assert "https://huggingface.co/nvidia/personaplex-7b-v1" in caught.value.message
    assert "no access token is set" in caught.value.message
    assert "HF_TOKEN" in caught.value.message


def test_an_accepted_licence_opens_the_door(hub: Hub):
    hub.status, hub.error_code, hub.token = 403, "GatedRepo", "hf_good"
    hub.files["voices.tgz"] = b"voices"
    with pytest.raises(DownloadError, match="the token in use has no access"):
        download(GATED, endpoint=hub.url, token="hf_bad")
    folder = download(GATED, endpoint=hub.url, token="hf_good")
    assert (folder / "voices.tgz").read_bytes() == b"voices"


def test_no_hub_in_reach(hub: Hub, tmp_path: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError) as caught:
            download(NAME, endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}")
    message = caught.value.message
    assert caught.value.error_code == "hub_unreachable"
    assert "the hub cannot be reached" in message
    assert "model.safetensors" in message
    assert "checkpoints/moshika-pytorch-bf16" in message


def test_a_hub_in_trouble(hub: Hub):
    hub.status = 503
    with pytest.raises(DownloadError) as caught:
        download(NAME, endpoint=hub.url)
    assert caught.value.error_code == "hub_unreachable"


def test_the_disk_is_looked_at_first(hub: Hub, tmp_path: Path):
    with pytest.raises(DownloadError, match=r"0\.0 GB are to be fetched and 0\.0 GB are free") as e:
        download(NAME, endpoint=hub.url, free_space=lambda folder: 1_000_000)
    assert e.value.error_code == "disk_full"
    assert e.value.context["free"] == 1_000_000
    assert e.value.context["needed"] >= len(WEIGHTS)
    assert not hub.gets("moshi.safetensors"), "weights were asked for in spite of a full disk"


def test_a_folder_that_cannot_be_made(hub: Hub, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadError, match="choose another folder"):
        download(NAME, endpoint=hub.url, to=tmp_path / "file" / "below")


def test_a_file_that_the_configuration_names_but_the_hub_lacks(hub: Hub):
    del hub.files["mimi.safetensors"]
    with pytest.raises(DownloadError, match=r"has no file 'mimi\.safetensors'"):
        download(NAME, endpoint=hub.url)


def test_an_unknown_name_gets_its_nearest_neighbour(hub: Hub):
    with pytest.raises(ModelLoadingError, match="did you mean 'kyutai/moshika-pytorch-bf16'"):
        download("kyutai/moshika-pytroch-bf16", endpoint=hub.url)
    assert not hub.asked


def test_coda_tiny_is_always_there(hub: Hub):
    assert download("coda-tiny", endpoint=hub.url) == TINY_FOLDER
    assert (TINY_FOLDER / "config.json").is_file()
    assert not hub.asked


def test_the_command(hub: Hub, tmp_path: Path):
    command = [sys.executable, "-m", "coda_voice.cli.main", "download"]
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "c"), "COLUMNS": "200"}
    done = subprocess.run(
        [*command, NAME, "--to", str(tmp_path / "mine")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "mine") in done.stdout.replace("\n", "")
    assert (tmp_path / "mine" / "moshi.safetensors").read_bytes() == WEIGHTS

    hub.status, hub.error_code = 403, "GatedRepo"
    refused = subprocess.run(
        [*command, GATED], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "accept it at https://huggingface.co/nvidia/personaplex-7b-v1" in refused.stderr
    assert "Traceback" not in refused.stderr
