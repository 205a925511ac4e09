"""HTTP/1.1 as uvicorn speaks it by httptools, with a bound on headers and a problem document for what is not HTTP."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import MEDIA_TYPE, document

HEAD_BYTES_MAX = 65_536


class Protocol(HttpToolsProtocol):
    """One connection. httptools gathers headers without an end, which costs more and more to a single sender's gain."""

    _in_head = False
    _head_bytes = 0

    def on_message_begin(self) -> None:
        """Start to count."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Count no more: the body has a bound of its own."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have no end."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response(f"the headers have more than {HEAD_BYTES_MAX} bytes")

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read as HTTP, and close."""
        body = json.dumps(document(400, "not_http", msg)).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
