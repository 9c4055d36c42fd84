"""One thread that embeds, with a bounded queue; a waiting query goes before waiting texts.

The model is loaded by that thread at its first job, or by ``warm``. Texts are embedded in
small batches, so that a query waits for one batch at most.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from coda_memory.embedding import EmbeddingModel, Vectors
from coda_memory.errors import MemoryStoreError, store_closed
from coda_memory.outcomes import settle, unknown
from coda_voice.errors import VoiceTimeoutError

BATCH = 8
"""Texts of one run of the model: about 50 ms on one core."""
WAITING = 64
"""Batches that may wait; then whoever embeds waits too."""
_QUERY, _TEXTS, _STOP = 0, 1, 2

_Job = tuple[int, int, Sequence[str], "Future[Vectors]"]


class EmbedWorker:
    """Owns an embedding model and the only thread that runs it."""

    def __init__(self, name: str, load: Callable[[str], EmbeddingModel]) -> None:
        self.name = name
        self._load = load
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue(maxsize=WAITING)
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    def query(self, text: str, timeout: float = 120.0) -> Vectors:
        """Embed one text, before everything that waits: float32 [dimension].

        The long default is for the very first use, which loads the model.
        """
        vector: Vectors = self._embed(_QUERY, [text], timeout)[0]
        return vector

    def texts(self, texts: Sequence[str], timeout: float = 300.0) -> Vectors:
        """Embed texts: float32 [texts, dimension]. Similar lengths share a batch."""
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        for start in range(0, len(order), BATCH):
            batch = [texts[i] for i in order[start : start + BATCH]]
            parts.append(self._embed(_TEXTS, batch, timeout))
        vectors = np.concatenate(parts)
        back = np.empty_like(vectors)
        back[order] = vectors
        return back

    def warm(self, timeout: float = 300.0) -> int:
        """Load the model now; gives its dimension. Raises ModelLoadingError."""
        return int(self._embed(_QUERY, ["warm"], timeout).shape[1])

    def close(self) -> None:
        """End the thread once it has done what it was given."""
        with self._starting:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put((_STOP, next(self._order), (), Future()))
            thread.join()

    def _embed(self, priority: int, texts: Sequence[str], timeout: float) -> Vectors:
        try:
            return self._submit(priority, texts, timeout).result(timeout)
        except TimeoutError:
            raise VoiceTimeoutError(
                f"embedding {len(texts)} texts took more than {timeout:g} s.", "memory_busy"
            ) from None

    def _submit(self, priority: int, texts: Sequence[str], timeout: float) -> Future[Vectors]:
        with self._starting:
            if self._closed:
                raise store_closed()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="embed", daemon=True)
                self._thread.start()
        future: Future[Vectors] = Future()
        try:
            self._jobs.put((priority, next(self._order), texts, future), timeout=timeout)
        except queue.Full:
            raise VoiceTimeoutError(
                f"embedding is {WAITING} batches behind; say less at once, or try again.",
                "memory_busy",
            ) from None
        return future

    def _run(self) -> None:
        model: EmbeddingModel | None = None
        while True:
            priority, _, texts, future = self._jobs.get()
            if priority == _STOP:
                return

            def run(priority: int = priority, texts: Sequence[str] = texts) -> Vectors:
                nonlocal model
                if model is None:
                    model = self._load(self.name)
                if priority == _QUERY:
                    vector: Vectors = model.embed_query(texts[0])[np.newaxis]
                    return vector
                return model.embed(texts)

            settle(future, run, self._error)

    def _error(self, error: BaseException) -> MemoryStoreError:
        return unknown(error, f"embedding with {self.name}", "embedding")
