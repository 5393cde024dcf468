"""Runs calls as the application runs its handlers: in the event loop, where they wait without blocking it."""

import time
from collections.abc import Callable
from typing import Any

from contractapp import Workers
from contractapp.serve import inline


async def handled(call: Callable[[], Any], workers: Workers, *, seconds: float = 600) -> Any:
    """The result of the call, which must end within this time."""
    handler, waiting = inline.start(call, workers, time.monotonic() + seconds)
    return handler.take() if handler.is_finished else await handler.finish(waiting)
