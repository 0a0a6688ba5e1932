"""Doing again what failed for the moment, with a pause that grows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

FIRST_SECONDS = 0.1
"""The pause before the second attempt; each is twice as long as the one before."""
LONGEST_SECONDS = 5.0


async def repeated(
    attempt: Callable[[], Awaitable[T]], times: int, is_temporary: Callable[[Exception], bool]
) -> T:
    """Return what an attempt returns, after up to ``times`` more when it fails for the moment."""
    pause = FIRST_SECONDS
    for _ in range(times):
        try:
            return await attempt()
        except Exception as error:
            if not is_temporary(error):
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_SECONDS)
    return await attempt()
