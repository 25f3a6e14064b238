"""Downloads that are checked, kept and found again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import requests
from filelock import FileLock
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from a2d.files import atomic_write, sha256_of
from a2d.section import UserError


class Downloads:
    """Downloaded files, each checked by its SHA-256 and used again."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self.folder = folder
        self.lock = lock
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, urls: Sequence[str], sha256: str | None = None) -> Path:
        """The file that one of the mirrors holds.

        Args:
            urls: tried in turn; a local path is used where it lies.
            sha256: expected; without it, the one recorded for the first URL.

        Raises:
            UserError: if no mirror has the file with the expected SHA-256.
        """
        key = urls[0]
        name = re.sub(r"[^\w.-]+", "_", key.partition("://")[2] or key)[-150:]
        target = self.folder / name
        with FileLock(self.folder / f".{name}.lock"):
            expected = sha256 or self._recorded().get(key)
            to_record = expected is None and "://" in key
            if target.exists() and expected in (None, sha256_of(target)):
                urls = [str(target)]
            failures = []
            for url in urls:
                try:
                    path = _download(url, target) if "://" in url else Path(url)
                    found = sha256_of(path)
                except (requests.RequestException, OSError) as error:
                    failures.append(f"{url}: {error}")
                    continue
                if expected in (None, found):
                    if to_record:
                        self._record(key, found)
                    return path
                if path == target:
                    target.unlink()
                failures.append(f"{url}: its SHA-256 is {found}, expected {expected}")
        raise UserError(
            f"no mirror has {key} ({'; '.join(failures)}); fetch it by hand and "
            "name its path among the mirrors"
        )

    def _recorded(self) -> dict[str, str]:
        return json.loads(self.lock.read_text()) if self.lock.exists() else {}

    def _record(self, url: str, sha256: str) -> None:
        with FileLock(self.folder / ".record.lock"):
            recorded = self._recorded() | {url: sha256}
            with atomic_write(self.lock) as file:
                json.dump(recorded, file, indent=2, sort_keys=True)
                file.write("\n")


def _download(url: str, target: Path) -> Path:
    unfinished = target.with_name(f".{target.name}.part")
    retry = Retry(
        total=4, connect=1, backoff_factor=1, status_forcelist=[429, 500, 502, 503, 504]
    )
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        # the file as it lies on the server, so that its SHA-256 is that of the file
        session.headers["Accept-Encoding"] = "identity"
        with session.get(url, stream=True, timeout=(10, 60)) as response:
            response.raise_for_status()
            if "text/html" in response.headers.get("Content-Type", ""):
                raise requests.RequestException("the server sent a web page, no file")
            with unfinished.open("wb") as file:
                for block in response.iter_content(1 << 20):
                    file.write(block)
    return unfinished.replace(target)
