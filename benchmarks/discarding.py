"""An S3 server that takes everything and keeps nothing, to see what a client alone costs.

python -m benchmarks.discarding PORT
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_STARTED = (
    b"<InitiateMultipartUploadResult><Bucket>test</Bucket><Key>large</Key>"
    b"<UploadId>1</UploadId></InitiateMultipartUploadResult>"
)
_ENDED = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
_PIECE = 1 << 18


class Discarding(BaseHTTPRequestHandler):
    """Answers as S3 does to an upload."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self, body: bytes = b"", status: int = 200) -> None:
        self._take()
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _take(self) -> None:
        room = memoryview(bytearray(_PIECE))
        missing = int(self.headers.get("Content-Length") or 0)
        while missing:
            missing -= self.rfile.readinto(room[: min(missing, _PIECE)])

    def do_PUT(self) -> None:
        """Take a part or an object."""
        self._answer()

    def do_POST(self) -> None:
        """Begin or end an upload in parts."""
        self._answer(_STARTED if "uploads" in self.path else _ENDED)

    def do_HEAD(self) -> None:
        """Know nothing."""
        self._answer(status=404)

    def do_GET(self) -> None:
        """Have nothing."""
        self._answer(status=404)

    def do_DELETE(self) -> None:
        """Delete nothing."""
        self._answer(status=204)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Discarding)
    print("ready", flush=True)
    server.serve_forever()
