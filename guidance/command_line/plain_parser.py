"""The parser of commands whose arguments are files and folders."""

import argparse
from typing import NoReturn

from guidance.errors import InputError


class PlainParser(argparse.ArgumentParser):
    """Parses commands whose arguments are files and folders; what is wrong is an :class:`InputError`."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{message} (see --help)")
