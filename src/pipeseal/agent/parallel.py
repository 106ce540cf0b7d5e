"""Several things at once, answers in order, and never more than a few waiting: for work that waits or hashes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# So many items for each worker may be under way or answered and not yet taken.
_AHEAD = 4


class _Task(Generic[Item, Answer]):
    """One item, and what came of it."""

    __slots__ = ("answer", "done", "error", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = False
        self.answer: Answer | None = None
        self.error: BaseException | None = None


def in_parallel(work: Callable[[Item], Answer], items: Iterable[Item], *, workers: int) -> Iterator[Answer]:
    """`work(item)` for each item, in threads; the answers come in the order of the items.

    Items are taken from `items` only as fast as answers are taken, so both may be endless. When `work` raises, that
    is raised in place of its answer, and no further item is begun.

    Parameters:
        work: is called from several threads.
        items: is read in the thread that takes the answers.
        workers: how many threads at most; with one, everything happens in the caller's.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    pool: _Pool[Item, Answer] = _Pool(work, workers)
    tasks: deque[_Task[Item, Answer]] = deque()
    try:
        for item in items:
            tasks.append(pool.begin(item))
            if len(tasks) >= workers * _AHEAD:
                yield pool.finish(tasks.popleft())
        while tasks:
            yield pool.finish(tasks.popleft())
    finally:
        pool.close()


class _Pool(Generic[Item, Answer]):
    """Threads that take tasks from one queue; they begin when there is work for them."""

    def __init__(self, work: Callable[[Item], Answer], workers: int) -> None:
        self._work = work
        self._workers = workers
        self._changed = threading.Condition()
        self._waiting: deque[_Task[Item, Answer]] = deque()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    def begin(self, item: Item) -> _Task[Item, Answer]:
        task: _Task[Item, Answer] = _Task(item)
        with self._changed:
            self._waiting.append(task)
            if self._idle < len(self._waiting) and len(self._threads) < self._workers:
                thread = threading.Thread(target=self._run, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()
        return task

    def finish(self, task: _Task[Item, Answer]) -> Answer:
        with self._changed:
            while not task.done:
                self._changed.wait()
        if task.error is not None:
            raise task.error
        return task.answer  # type: ignore[return-value]  # it is done without an error, so the answer is work's

    def close(self) -> None:
        """Begin nothing more; wait for what is under way."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._waiting and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if self._closed:
                    return
                task = self._waiting.popleft()
            try:
                task.answer = self._work(task.item)
            except BaseException as error:
                task.error = error  # raised again in the thread that asked
            with self._changed:
                task.done = True
                self._changed.notify_all()
