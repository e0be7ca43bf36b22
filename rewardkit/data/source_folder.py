"""Image files of a source by the names that its rows give them: in its folder, or in a zip or tar archive beside.

A name may not lead out of the source: absolute paths, ``..`` and symbolic links to elsewhere are refused unless the
user permits them. Archives are read in place and never unpacked; a name ``a/b/c.jpg`` is looked for in ``a/b.zip``,
``a/b.tar``, ``a.zip`` and ``a.tar`` where there is no such file.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rewardkit.errors import BadSample, DataError

ARCHIVES = (".zip", ".tar")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
"""Archives that cannot be read from the middle; a message says to unpack them."""

MAX_IMAGE_BYTES = 2**30
"""An image file above 1 GiB is not read."""

OUTSIDE = "leads out of the source's folder; give outside=allow if that is meant"


class SourceFolder:
    """The images of one source.

    Args:
        root: The source's folder.
        outside: Permit names that lead out of it.
    """

    def __init__(self, root: Path, *, outside: bool = False) -> None:
        self.root = root
        self._outside = outside
        self._text = os.fspath(root)
        self._real_root = os.path.realpath(root)
        self._inside: dict[str, bool] = {}
        self._archives: dict[str, _Archive | None] = {}

    def read(self, name: str, folder: str = "") -> bytes:
        """The bytes of an image.

        Args:
            name: As a row gives it.
            folder: Folder inside the source that the name is relative to.

        Raises:
            BadSample: There is none, it is no file, or the name leads out of the source. Any other refusal of the
                system (a failing disk) is no bad sample and passes.
        """
        if "\0" in name:
            raise BadSample(f"{name!r} is not a file name")
        if not self._outside and (name.startswith("/") or (".." in name and ".." in name.split("/"))):
            raise BadSample(f"{name!r} {OUTSIDE}")
        path = os.path.join(self._text, folder, name)
        try:
            descriptor, link = _open(path)
            try:
                return self._read(descriptor, path, link)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return self._from_archive(folder, name, path)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                raise BadSample(f"{path} is not a file name: {error.strerror}") from None
            raise

    def _read(self, descriptor: int, path: str, link: bool) -> bytes:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadSample(f"{path} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a plain file'}")
        if status.st_size > MAX_IMAGE_BYTES:
            raise BadSample(f"{path} has {status.st_size:,} bytes, more than {MAX_IMAGE_BYTES:,}")
        if not self._outside and not self._lies_inside(path, link):
            raise BadSample(f"{path} is a symbolic link that {OUTSIDE}")
        return _whole(descriptor, status.st_size)

    def _lies_inside(self, path: str, link: bool) -> bool:
        """Whether the file, with all links followed, lies below the root. Folders are looked up once."""
        if link:
            return self._below_root(os.path.realpath(path))
        folder = path.rpartition("/")[0] or "/"
        if folder not in self._inside:
            self._inside[folder] = self._below_root(os.path.realpath(folder))
        return self._inside[folder]

    def _below_root(self, real: str) -> bool:
        return real == self._real_root or real.startswith(self._real_root.rstrip(os.sep) + os.sep)

    def _from_archive(self, folder: str, name: str, path: str) -> bytes:
        parts = [part for part in PurePosixPath(folder, name).parts if part != "."]
        packed = ""
        for depth in range(len(parts) - 1, 0, -1):
            base = "/".join(parts[:depth])
            for suffix in ARCHIVES:
                archive = self._archive(base + suffix)
                if archive is None:
                    continue
                # Archives hold their files bare, below their own name, or below the whole path.
                for start in (depth, depth - 1, 0):
                    member = "/".join(parts[start:])
                    if member in archive.members:
                        return archive.read(member)
                packed = packed or f"; {base + suffix} does not hold it either"
            packed = packed or next(
                (f"; unpack {base + suffix}" for suffix in COMPRESSED if (self.root / (base + suffix)).exists()), ""
            )
        raise BadSample(f"there is no file {path}{packed}")

    def _archive(self, name: str) -> _Archive | None:
        if name not in self._archives:
            path = self.root / name
            self._archives[name] = _Archive(path) if path.is_file() else None
        return self._archives[name]


class _Archive:
    """The plain files of one zip or tar archive; ``members`` maps their names to where they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self.members: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        try:
            if path.suffix == ".zip":
                self._zip = zipfile.ZipFile(path)
            for name, member, reason in entries(path):
                if not reason:
                    self.members[name] = member
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise DataError(f"{path} cannot be read (cut off while downloading?): {error}") from None

    def read(self, name: str) -> bytes:
        member = self.members[name]
        size = member.file_size if isinstance(member, zipfile.ZipInfo) else member.size
        if size > MAX_IMAGE_BYTES:
            raise BadSample(f"{self.path}: {name} has {size:,} bytes, more than {MAX_IMAGE_BYTES:,}")
        if isinstance(member, zipfile.ZipInfo):
            assert self._zip is not None
            try:
                return self._zip.read(member)
            except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
                raise BadSample(f"{self.path}: {name} cannot be unpacked: {error}") from None
        with open(self.path, "rb", buffering=0) as file:
            os.lseek(file.fileno(), member.offset_data, os.SEEK_SET)
            return _whole(file.fileno(), size)


def entries(path: Path) -> Iterator[tuple[str, zipfile.ZipInfo | tarfile.TarInfo, str]]:
    """Every entry of an archive: its name, what the archive says of it, and why it is refused ("" where it is not).

    Raises:
        zipfile.BadZipFile, tarfile.TarError, EOFError: The archive is damaged or cut off.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                plain = info.is_dir() or kind in (0, stat.S_IFREG)
                if not info.is_dir():
                    yield _plain_name(info.filename), info, _refused(info.filename, plain)
        return
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if not member.isdir():
                yield _plain_name(member.name), member, _refused(member.name, member.isreg())


def _plain_name(name: str) -> str:
    return str(PurePosixPath(name))


def _refused(name: str, plain: bool) -> str:
    if name.startswith("/") or re.match(r"[A-Za-z]:[\\/]", name) or ".." in PurePosixPath(name).parts:
        return "its name leads out of the archive"
    return "" if plain else "it is a link, a device or the like"


def refused_entries(root: Path) -> list[tuple[str, str, str]]:
    """Entries of the archives below a folder that are never read: archive, entry, reason.

    Raises:
        DataError: An archive is damaged.
    """
    found = []
    # Not by Path.rglob, which takes seconds over a hundred thousand images.
    named = [os.path.join(at, name) for at, _, names in os.walk(root) for name in names if name.endswith(ARCHIVES)]
    for path in sorted(path for path in map(Path, named) if path.suffix in ARCHIVES and path.is_file()):
        try:
            found += [(path.relative_to(root).as_posix(), name, reason) for name, _, reason in entries(path) if reason]
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise DataError(f"{path} cannot be read (cut off while downloading?): {error}") from None
    return found


def _open(path: str) -> tuple[int, bool]:
    """Opens a file for reading; also whether it is a symbolic link. Never waits for the other end of a pipe."""
    flags = os.O_RDONLY | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_NOFOLLOW), False
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    return os.open(path, flags), True


def _whole(descriptor: int, size: int) -> bytes:
    """A file's bytes from the current place on; images are mostly read at once."""
    data = os.read(descriptor, size)
    if len(data) == size:
        return data
    parts = [data]
    while parts[-1]:
        parts.append(os.read(descriptor, size - sum(map(len, parts))))
    return b"".join(parts)
