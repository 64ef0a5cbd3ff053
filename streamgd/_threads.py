"""Work shared out among threads of this process."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait


@functools.cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="streamgd")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def share(work: Callable[[int], None], n: int, threads: int) -> None:
    """Do ``work(0)`` to ``work(n - 1)``, by this thread and as many more as make ``threads``."""
    todo, lock = iter(range(n)), threading.Lock()

    def take() -> None:
        while True:
            with lock:
                k = next(todo, -1)
            if k < 0:
                return
            work(k)

    helpers = [_pool(threads - 1).submit(take) for _ in range(min(threads, n) - 1)]
    try:
        take()
    finally:  # after an error or Ctrl-C nothing is left to do, and nobody works on when this returns
        interrupts = []
        while True:
            try:
                with lock:
                    todo = iter(())
                for helper in helpers:
                    helper.cancel()
                wait(helpers)
                break
            except KeyboardInterrupt as interrupt:  # another one
                interrupts.append(interrupt)
        if interrupts:
            raise interrupts[-1]
    for helper in helpers:
        if not helper.cancelled():
            helper.result()
