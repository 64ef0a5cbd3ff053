"""Reading ahead: a thread makes the next batches while the learner is at work."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 1.0  # seconds to wait, when closed early, for a thread that is in the middle of a batch


class _End:
    """What comes behind the last item: the error that ended it, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(batches: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield what ``batches`` yields, made by a thread that is up to ``depth`` items ahead.

    An error comes where it would have come without the thread, behind the items before it. Closing the
    iterator early, as leaving a loop by an error or Ctrl-C does, ends the thread and closes ``batches``.
    Only a thread that is stuck, waiting for a pipe say, is left behind after a second; it does not keep
    the process alive.

    Parameters
    ----------
    batches
        What to read; only the thread touches it.
    depth
        Items that wait, at most, the one in the making included; at least 1.

    Examples
    --------
    >>> from streamgd import stream
    >>> list(stream.read_ahead(range(3)))
    [0, 1, 2]
    """
    if depth < 1:
        raise ValueError(f"depth={depth}: at least one item is read ahead")
    return _items(batches, depth)


def _items(batches: Iterable[T], depth: int) -> Iterator[T]:
    ready: SimpleQueue[T | _End] = SimpleQueue()
    room = threading.Semaphore(depth)
    closed = threading.Event()

    def read() -> None:
        end = _End(None)
        try:
            iterator = iter(batches)
            try:
                room.acquire()
                while not closed.is_set():
                    try:
                        item = next(iterator)
                    except StopIteration:
                        break
                    ready.put(item)
                    del item  # the queue alone decides how many are held
                    room.acquire()
            finally:
                if hasattr(iterator, "close"):
                    iterator.close()
        except BaseException as error:
            end = _End(error)
        ready.put(end)

    thread = threading.Thread(target=read, name="streamgd read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            room.release()
            yield item
            del item
    finally:
        closed.set()
        room.release()
        if thread is not threading.current_thread():  # where the collector of garbage may close this
            thread.join(_PATIENCE)
