"""Drivers that exporters of the tests export beside OpenDAL's; imported where Jumpstarter is installed."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from jumpstarter.driver import Driver, export
from jumpstarter_driver_opendal.driver import MockFlasher, MockStorageMuxFlasher, Opendal


class Unknown(Driver):
    """A driver whose client nobody has installed."""

    @classmethod
    def client(cls) -> str:
        """Return the path of a class that does not exist."""
        return "board_not_installed.client.BoardClient"


class Power(Driver):
    """A driver that is no storage."""

    @classmethod
    def client(cls) -> str:
        """Return the client that all drivers can have."""
        return "jumpstarter.client.DriverClient"


class Watched(Opendal):
    """OpenDAL's driver, where a test can see its open handles and make it fail."""

    made: ClassVar[list[Watched]] = []

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made.append(self)
        self.calls: list[str] = []

    async def DriverCall(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Note which methods are called."""
        self.calls.append(request.method)
        return await super().DriverCall(request, context)

    async def open_handles(self) -> int:
        """Return how many files are open."""
        return sum([not await file.closed for file in self._fds.values()])


class Late(Opendal):
    """OpenDAL's driver on an exporter that takes its time to open a file."""

    @export
    async def open(self, path: str, mode: str) -> Any:
        """Open a file, when whoever asks may be gone."""
        await asyncio.sleep(0.4)
        return await super().open(path, mode)


class Flasher(MockFlasher):
    """The driver package's own flasher, which forgets its directory when it closes."""

    def close(self) -> None:
        """Remove what was flashed."""
        self._tempdir.cleanup()
        super().close()


class Mux(MockStorageMuxFlasher):
    """The driver package's own storage multiplexer, which forgets its file when it closes."""

    def close(self) -> None:
        """Remove what was flashed."""
        self.file.close()
        super().close()


class Forgetful(Flasher):
    """A flasher of a device with a broken cell."""

    @export
    async def dump(self, target: Any, partition: str | None = None) -> None:
        """Send what was flashed, with another byte at offset 5."""
        from pathlib import Path

        path = Path(self._tempdir.name) / (partition or "default")
        content = bytearray(path.read_bytes())
        content[5] ^= 0xFF
        async with self.resource(target) as there:
            await there.send(bytes(content))
