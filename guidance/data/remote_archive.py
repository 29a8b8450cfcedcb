"""Archives of data sets, fetched and unpacked."""

from dataclasses import dataclass
from pathlib import Path

from guidance.data.archive import extract
from guidance.download import download
from guidance.errors import InputError


@dataclass(frozen=True)
class RemoteArchive:
    """A file that a data set's makers offer.

    Attributes:
        url: Its address.
        checksum: ``md5:`` or ``sha256:`` and the digest.
        size: In bytes, if known.
        name: What it is called on disk; the address's last part by default.
    """

    url: str
    checksum: str
    size: int | None = None
    name: str = ""

    def install(self, folder: Path, into: Path | None = None) -> None:
        """Download the archive, unless it is there, and unpack it.

        Args:
            folder: Where the archive lies, and stays.
            into: What it is unpacked into; ``folder`` by default.

        Raises:
            InputError: If it cannot be fetched, with what to do by hand, or not unpacked.
        """
        path = folder / (self.name or self.url.rpartition("/")[2])
        try:
            download(self.url, path, self.checksum, self.size)
        except InputError as error:
            algorithm, _, digest = self.checksum.partition(":")
            raise InputError(
                f"{error}. Fetch it by hand ({algorithm.upper()} {digest}), put it into that folder and run "
                "again with data.download=true, which then only unpacks it"
            ) from error
        extract(path, into or folder)
