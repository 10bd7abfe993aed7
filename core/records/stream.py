"""A file as a stream of bytes in UTF-8: unpacked from gzip or zstd, guarded against bombs, decoded from UTF-16.

    with open_stream(path.open("rb"), size=path.stat().st_size, where="mine.jsonl.gz", limits=Limits()) as stream:
        stream.peek(1)

Memory stays at a buffer of 128 KiB, whatever the file holds.

Where it sits: below the readers of JSON and of tables.
"""

import codecs
import gzip
import io
import tempfile
import zipfile
import zlib
from abc import abstractmethod
from typing import IO, Any, Protocol

from core.errors import DataError
from core.records.record import Limits

BUFFER_BYTES = 1 << 17
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Readable(Protocol):
    """All that is asked of an open file."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


def open_stream(file: Readable, *, size: int, where: str, limits: Limits) -> "io.BufferedReader[Any]":
    """The unpacked content of an open file, text in UTF-8 without a byte order mark.

    Args:
        size: Packed bytes, which the unpacked ones are compared with.
        where: Begins every error.
    Raises:
        DataError: while it is read: damaged, or a bomb.
    """
    guarded = _Guarded(file, size, where, limits)
    stream: io.BufferedReader[Any] = io.BufferedReader(guarded, BUFFER_BYTES)
    head = stream.peek(4)
    while head.startswith((_GZIP, _ZSTD)):
        inner = gzip.GzipFile(fileobj=stream) if head.startswith(_GZIP) else _zstd(stream)
        stream = io.BufferedReader(_Guarded(inner, size, where, limits), BUFFER_BYTES)
        head = stream.peek(4)
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    elif encoding := _utf16(head):
        if head[:2] in _UTF16:
            stream.read(2)
        stream = io.BufferedReader(_Transcoded(stream, encoding, where), BUFFER_BYTES)
    return stream


def seekable(stream: Readable) -> IO[bytes]:
    """A copy on disk of a stream that cannot go back, as Parquet needs it; deleted when it is closed."""
    copy: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    while chunk := stream.read(BUFFER_BYTES):
        copy.write(chunk)
    copy.seek(0)
    return copy


def _utf16(head: bytes) -> str:
    """The encoding, if it is UTF-16, by its mark or by the zeros of JSON's and CSV's first characters."""
    if head[:2] in _UTF16:
        return _UTF16[head[:2]]
    if len(head) >= 4 and head[0] and not head[1] and head[2] and not head[3]:
        return "utf-16-le"
    return "utf-16-be" if len(head) >= 4 and not head[0] and head[1] and not head[2] and head[3] else ""


def _zstd(stream: IO[bytes]) -> Readable:
    import pyarrow

    opened: Readable = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), "zstd")
    return opened


class _Raw(io.RawIOBase):
    """What can be read in pieces."""

    def readable(self) -> bool:
        return True

    @abstractmethod
    def _piece(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        num = 0
        while num < len(view) and (piece := self._piece(len(view) - num)):  # so that `peek` shows a whole buffer
            view[num : num + len(piece)] = piece
            num += len(piece)
        return num


class _Guarded(_Raw):
    """Bytes of a file that may be packed, counted."""

    def __init__(self, inner: Readable, size: int, where: str, limits: Limits) -> None:
        self._inner, self._size, self._where, self._limits = inner, size, where, limits
        self._num = 0

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._inner.read(size)
        except DataError:
            raise
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as e:
            raise DataError(f"{self._where}: cannot be read ({_first_line(e)}). Fetch or pack it again.") from e
        self._num += len(piece)
        limits = self._limits
        if self._num > limits.ratio_from_bytes and self._num > limits.ratio * max(self._size, 1):
            raise DataError(
                f"{self._where}: unpacks to more than {limits.ratio} times its {self._size:,} bytes, as only crafted "
                "archives do. Unpack it yourself if you trust it, and give the folder."
            )
        return piece

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class _Transcoded(_Raw):
    """UTF-16 as UTF-8."""

    def __init__(self, inner: "io.BufferedReader[Any]", encoding: str, where: str) -> None:
        self._inner, self._where = inner, where
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._rest = b""

    def _piece(self, size: int) -> bytes:
        while not self._rest:
            chunk = self._inner.read(BUFFER_BYTES)
            try:
                self._rest = self._decoder.decode(chunk, final=not chunk).encode()
            except UnicodeError as e:
                raise DataError(f"{self._where}: not valid UTF-16 ({e}). Save it as UTF-8.") from e
            if not chunk:
                break
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


def _first_line(e: BaseException) -> Any:
    return next(iter(str(e).splitlines()), type(e).__name__)
