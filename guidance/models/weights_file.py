"""Looking at a file of torch before it is loaded: whether it means more than it holds."""

import io
import pickletools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError

_ZIP = b"PK\x03\x04"  # how torch tells its format from the older one
_LARGEST_PICKLE = 2**25  # bytes; that of a large network has some hundred thousand
_PICKLES = 4  # at the head of the older format, before the numbers: magic number, version, system, objects
# Makes as many bytes as a number says; torch allows it, and no weights need it.
_MAKES_BYTES = ("builtins bytearray", "__builtin__ bytearray")


def refuse_bomb(path: Path) -> None:
    """Refuse a file of a few bytes that would take gigabytes of memory, which torch does not.

    Torch allows only calls that are harmless one by one, but among them one that makes as many bytes as it is
    told, and it inflates what is packed. What it saves itself is not packed, and its pickle is small. The
    numbers of tensors are as many as the file holds, which torch checks.

    Args:
        path: A file that exists, in either of torch's formats.

    Raises:
        ValueError: Saying why.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
        file.seek(0)
        if start != _ZIP:
            head = io.BytesIO(file.read(_LARGEST_PICKLE))
            for _ in range(_PICKLES):
                _check_pickle(head)
            return
        try:
            with zipfile.ZipFile(file) as packed:
                members = packed.infolist()
                if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                    raise ValueError("its content is packed, which torch never does")
                if sum(member.file_size for member in members) > path.stat().st_size:
                    raise ValueError("it is said to hold more bytes than it has")
                for member in members:
                    if member.filename.endswith("data.pkl"):
                        if member.file_size > _LARGEST_PICKLE:
                            raise ValueError(f"{member.filename} has more than {_LARGEST_PICKLE:,} bytes")
                        _check_pickle(io.BytesIO(packed.read(member)))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ValueError(str(error)) from error


def foreign_name(error: Exception) -> str:
    """Return the name of what torch refused to make because it is neither numbers nor plain data, or ""."""
    found = re.search(r"(?:Unsupported global: GLOBAL|Unsupported class) ([\w.]+)", str(error))
    return found[1] if found else ""


def why_unreadable(error: Exception) -> str:
    """Say in a few words why a file could not be loaded, without torch's advice to load it as it is."""
    name = foreign_name(error)
    if name:
        return f"it holds more than weights and plain data ({name}), which could run anything"
    if isinstance(error, UnpicklingError):
        return "it is damaged, or holds more than weights and plain data"
    return str(error) or type(error).__name__


def _check_pickle(file: io.BytesIO) -> None:
    """Read one pickle, running nothing of it.

    Raises:
        ValueError: If it makes bytes by number, or is broken or too large.
    """
    for code, argument, _ in pickletools.genops(file):
        if code.name == "GLOBAL" and argument in _MAKES_BYTES:
            raise ValueError("it makes bytes by number, which no weights need")
