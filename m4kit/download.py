"""Fetch a file once into the cache folder: whole, of a known hash, and resumable.

`M4KIT_CACHE` names the folder (default `~/.cache/m4kit`). With `M4KIT_OFFLINE=1` nothing is fetched, and the error
says which file to put where by hand. Proxies are taken from the environment, as everywhere in Python.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

TIMEOUT_SECONDS = 30
ATTEMPTS = 4
"""How often a connection that is cut off is taken up again before giving up."""

_BLOCK = 1 << 18


class DownloadError(OSError):
    """A file could not be fetched, or is not the one that was expected."""


def cache_folder() -> Path:
    """Where downloads are kept: the folder in `M4KIT_CACHE`, else `~/.cache/m4kit`."""
    return Path(os.environ.get("M4KIT_CACHE") or Path.home() / ".cache" / "m4kit")


def cached_path(url: str, *, sha256: str, file: str | None = None) -> Path:
    """Where the URL's file is kept, or would be."""
    name = file or Path(urllib.parse.urlsplit(url).path).name or "file"
    return cache_folder() / sha256[:12] / name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, *, sha256: str, file: str | None = None, progress: bool = True) -> Path:
    """The URL's file in the cache folder, fetched if it is not there.

    What has arrived stays as `NAME.part` when the connection is cut off, and the next call goes on behind it. The
    file gets its name only once its hash is right. Raises `DownloadError`, which names the address, the file to
    fetch by hand and where to put it.
    """
    path = cached_path(url, sha256=sha256, file=file)
    if path.is_file() and sha256_of(path) == sha256.lower():
        return path
    by_hand = f"fetch {url} by other means, with SHA-256 {sha256}, and put it there: {path}"
    if os.environ.get("M4KIT_OFFLINE", "") not in ("", "0"):
        raise DownloadError(f"{path}: no such file, and M4KIT_OFFLINE forbids to fetch it; {by_hand}")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.is_file()
        _fetch(url, part, progress=progress)
        if resumed and sha256_of(part) != sha256.lower():
            # What lay there may have been of another file, or written by two processes at once.
            part.unlink()
            _fetch(url, part, progress=progress)
    # A broken answer is an HTTPException, and an address that is none a ValueError.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(
            f"{url}: the download failed ({error}); check the connection and try again, or {by_hand}"
        ) from error
    came = sha256_of(part)
    if came != sha256.lower():
        part.unlink()
        raise DownloadError(
            f"{url}: expected SHA-256 {sha256}, got {came}: the file has changed or was damaged on the way; "
            f"update m4kit, or {by_hand}"
        )
    part.replace(path)
    return path


def _fetch(url: str, part: Path, *, progress: bool) -> None:
    """Append to `part` what is missing of the URL's file, taking the connection up again when it breaks off."""
    with tqdm(desc=part.name.removesuffix(".part"), unit="B", unit_scale=True, disable=not progress) as bar:
        for attempt in range(ATTEMPTS):
            try:
                _receive(url, part, bar)
                return
            except urllib.error.HTTPError:
                # The server's own word will not change in a moment.
                raise
            except (OSError, http.client.HTTPException):
                if attempt == ATTEMPTS - 1:
                    raise


def _receive(url: str, part: Path, bar: tqdm) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        # `urlopen` would keep the proxies of its first call.
        answer = urllib.request.build_opener().open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        # Nothing lies behind what we have: it is whole, or of another file, which the hash will tell.
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        raise
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT and answer.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {have}-")
        expected = answer.headers.get("Content-Length")
        bar.n = have if goes_on else 0
        bar.total = None if expected is None else bar.n + int(expected)
        received = 0
        with part.open("ab" if goes_on else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                received += len(block)
                bar.update(len(block))
        # `read` with a size does not complain of a body that ends early.
        if expected is not None and received < int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - received)
