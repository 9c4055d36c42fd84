"""Fetching a checkpoint known by name from the Hugging Face hub.

``download(name)`` fetches just the files that loading needs, checks the disk first, goes
on where an earlier attempt stopped, and says in plain words what to do when the hub cannot
be reached or a licence must be accepted. ``find_local(name)`` finds what is already there.
"""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
)
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from coda_voice.errors import DownloadError
from coda_voice.hardware import GB, existing_parent, hub_cache
from coda_voice.moshi.capabilities import (
    TINY,
    TINY_FOLDER,
    Capabilities,
    known_checkpoints,
    unknown_checkpoint,
)

ATTEMPTS_WITHOUT_PROGRESS = 3
REACH_SECONDS = 10
SPARE_BYTES = 200_000_000
"""Free space that must be left on the disk afterwards."""
_ALWAYS_NAMED = ("moshi_name", "mimi_name", "tokenizer_name")
"""Keys of ``config.json`` that name a file; ``Capabilities.files`` are their defaults."""
_SOMETIMES_NAMED = ("mimi_config_name", "lora_name")
_DEFAULT_NAMES = ("model.safetensors", "tokenizer-e351c8d8-checkpoint125.safetensors")
_POLL_SECONDS = 0.2

Progress = Callable[[str, int, int], None]
"""Called as ``progress(file name, bytes there, bytes in all)``, from another thread too."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a checkpoint as the hub describes it."""

    repo: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class _Hub:
    """Where files come from and where they go, for one download."""

    checkpoint: Capabilities
    endpoint: str | None
    token: str | None
    folder: Path | None
    cache: Path

    @property
    def target(self) -> Path:
        return self.folder or self.cache

    def reach(self) -> None:
        """Knock once, so that being offline is told in a moment and not after five retries."""
        with self._in_plain_words():
            answer = get_session().head(self.endpoint or ENDPOINT, timeout=REACH_SECONDS)
        if answer.status_code >= 500:
            raise self._unreachable(OSError(f"it answers with status {answer.status_code}"))

    def describe(self, repo: str, name: str) -> RemoteFile | None:
        """Ask for size and etag; None where the repository has no such file."""
        url = hf_hub_url(repo, name, endpoint=self.endpoint)
        try:
            with self._in_plain_words():
                found = get_hf_file_metadata(url, token=self.token, endpoint=self.endpoint)
        except EntryNotFoundError:
            return None
        return RemoteFile(repo, name, int(found.size or 0), str(found.etag))

    def fetch(self, file: RemoteFile, progress: Progress | None) -> Path:
        """Fetch one file, going on after cut connections as long as each brings more."""
        before, fruitless = self.bytes_here(file), 0
        while True:
            try:
                with self._in_plain_words(), self._watched(file, progress):
                    return Path(
                        hf_hub_download(
                            file.repo,
                            file.name,
                            endpoint=self.endpoint,
                            token=self.token,
                            cache_dir=self.cache,
                            local_dir=self.folder,
                        )
                    )
            except DownloadError as error:
                now = self.bytes_here(file)
                fruitless = 0 if now > before else fruitless + 1
                before = now
                if error.error_code != "hub_unreachable" or fruitless >= ATTEMPTS_WITHOUT_PROGRESS:
                    raise

    def bytes_here(self, file: RemoteFile) -> int:
        """Count the bytes of ``file`` on the disk, of a finished or an interrupted download."""
        if self.folder is not None:
            parts = [self.folder / file.name]
            parts += self.folder.glob(f".cache/huggingface/download/*{file.etag}.incomplete")
        else:
            blobs = self.cache / f"models--{file.repo.replace('/', '--')}" / "blobs"
            parts = [blobs / file.etag, blobs / f"{file.etag}.incomplete"]
        return min(max((p.stat().st_size for p in parts if p.is_file()), default=0), file.size)

    @contextmanager
    def _watched(self, file: RemoteFile, progress: Progress | None) -> Iterator[None]:
        # The hub's client has no callback for a file's bytes, so the growing file is watched.
        if progress is None:
            yield
            return
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_POLL_SECONDS):
                progress(file.name, self.bytes_here(file), file.size)

        watcher = threading.Thread(target=watch, name="download-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
        progress(file.name, file.size, file.size)

    @contextmanager
    def _in_plain_words(self) -> Iterator[None]:
        name, url = self.checkpoint.name, self.checkpoint.licence_url
        try:
            yield
        except LocalEntryNotFoundError as error:
            raise self._unreachable(error.__cause__ or error) from error
        except EntryNotFoundError:
            raise
        except HfHubHTTPError as error:
            status = None if error.response is None else error.response.status_code
            if isinstance(error, GatedRepoError) or status in (401, 403):
                raise self._not_allowed(error) from error
            if status == 404:
                raise DownloadError(
                    f"the hub has no {name}; look at {url}", error_code="not_on_hub", status=404
                ) from error
            raise self._unreachable(error) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(self.target, None, None) from error
            if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
                raise DownloadError(
                    f"{self.target} cannot be written to; choose another folder with --to",
                    error_code="not_writable",
                ) from error
            raise self._unreachable(error) from error
        except RuntimeError as error:  # what hf_xet, the hub's transfer library, raises
            raise self._unreachable(error) from error

    def _not_allowed(self, error: Exception) -> DownloadError:
        name, url = self.checkpoint.name, self.checkpoint.licence_url
        who = (
            "the token in use has no access"
            if self.token or get_token()
            else "no access token is set"
        )
        return DownloadError(
            f"{name} is only given to those who accepted its licence, and {who}: accept it at "
            f"{url}, make a token at https://huggingface.co/settings/tokens, and set it as "
            "HF_TOKEN",
            error_code="licence_not_accepted",
            checkpoint=name,
            url=url,
            reason=str(error).splitlines()[0] if str(error) else "",
        )

    def _unreachable(self, error: BaseException) -> DownloadError:
        name = self.checkpoint.name
        folder = self.folder or Path("checkpoints") / name.rsplit("/", 1)[-1]
        files = (*(self.checkpoint.files or _DEFAULT_NAMES), *self.checkpoint.extra_files)
        listed = f"{', '.join(files)}, and config.json if there is one"
        return DownloadError(
            f"the hub cannot be reached, or the connection broke ({_brief(error)}): run the same "
            "command again to go on where it stopped. Without a network: fetch the files of "
            f"{self.checkpoint.licence_url}/tree/main elsewhere ({listed}), "
            f"put them into one folder, such as {folder}, and give that folder as checkpoint",
            error_code="hub_unreachable",
            checkpoint=name,
        )


def download(
    name: str,
    *,
    to: str | Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
    free_space: Callable[[Path], int] | None = None,
) -> Path:
    """Fetch the checkpoint ``name`` and give the folder it is in.

    ``to`` is a folder of one's own; without it files go to the hub's cache, where loading
    by name finds them. ``endpoint`` and ``token`` default to HF_ENDPOINT and HF_TOKEN.
    ``free_space(folder)`` gives the bytes free there. Raises ModelLoadingError for an unknown
    name, and DownloadError with code ``hub_unreachable``, ``licence_not_accepted``,
    ``disk_full``, ``not_writable`` or ``not_on_hub``.
    """
    if name == TINY:
        return TINY_FOLDER
    checkpoint = known_checkpoints().get(name)
    if checkpoint is None:
        raise unknown_checkpoint(name)
    folder = None if to is None else Path(to).expanduser().absolute()
    hub = _Hub(checkpoint, endpoint, token, folder, hub_cache())
    with _quiet_hub():
        hub.reach()
        files = _plan(hub)
        missing = sum(file.size - hub.bytes_here(file) for file in files)
        place = existing_parent(hub.target)
        free = (free_space or _free_bytes)(place)
        if missing and missing + SPARE_BYTES > free:
            raise _disk_full(hub.target, missing, free)
        paths = [hub.fetch(file, progress) for file in files]
    return folder or paths[0].parent


def find_local(name: str) -> Path | None:
    """Find the folder of a downloaded checkpoint in the hub's cache; None if incomplete."""
    if name == TINY:
        return TINY_FOLDER
    checkpoint = known_checkpoints().get(name)
    if checkpoint is None:
        return None
    config = try_to_load_from_cache(name, "config.json", cache_dir=hub_cache())
    names = _file_names(checkpoint, Path(config) if isinstance(config, str) else None)
    found = [try_to_load_from_cache(repo, file, cache_dir=hub_cache()) for repo, file in names]
    if not found or not all(isinstance(path, str) for path in found):
        return None
    return Path(found[0]).parent


def _plan(hub: _Hub) -> list[RemoteFile]:
    """List the files to fetch; the configuration, if there is one, is fetched on the way."""
    name = hub.checkpoint.name
    config = hub.describe(name, "config.json")
    path = None if config is None else hub.fetch(config, None)
    files = [] if config is None else [config]
    for repo, file in _file_names(hub.checkpoint, path):
        described = hub.describe(repo, file)
        if described is None:
            raise DownloadError(
                f"the hub's {repo} has no file {file!r}; look at https://huggingface.co/{repo}",
                error_code="not_on_hub",
                checkpoint=name,
                file=file,
            )
        files.append(described)
    return files


def _file_names(checkpoint: Capabilities, config: Path | None) -> list[tuple[str, str]]:
    """Give repository and name of each file, from the checkpoint's own configuration."""
    values = {} if config is None else json.loads(config.read_text(encoding="utf-8"))
    defaults = dict(zip(_ALWAYS_NAMED, checkpoint.files, strict=False))
    wanted = [values.get(key) or defaults.get(key) for key in _ALWAYS_NAMED]
    wanted += [values.get(key) for key in _SOMETIMES_NAMED]
    wanted += checkpoint.extra_files
    names = []
    for file in (name for name in wanted if name):
        if file.startswith("hf://"):  # a file of another repository, as moshi's loader reads it
            owner, repo, rest = file.removeprefix("hf://").split("/", 2)
            names.append((f"{owner}/{repo}", rest))
        else:
            names.append((checkpoint.name, file))
    return names


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _disk_full(target: Path, needed: int | None, free: int | None) -> DownloadError:
    amounts = (
        ""
        if needed is None or free is None
        else f": {needed / GB:.1f} GB are to be fetched and {free / GB:.1f} GB are free"
    )
    return DownloadError(
        f"the disk of {target} has not enough space{amounts}; make room, choose another folder "
        "with --to, or set HF_HOME to one on a larger disk",
        error_code="disk_full",
        needed=needed,
        free=free,
    )


def _brief(error: BaseException) -> str:
    """Give the innermost reason in one line: network errors come wrapped several times."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        wrapped = (error.__cause__, getattr(error, "reason", None), *error.args[:1])
        inner = next((e for e in wrapped if isinstance(e, BaseException)), None)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return reason.rpartition("): ")[2][:160]


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the hub's client from drawing bars of its own meanwhile."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
