"""References in docstrings (``:class:`~guidance.losses.L1Loss```) become links where the site has them."""

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|obj):`(~?)([\w.]+)`")


def linked(text: str, within: str = "") -> str:
    """Replace the roles in a docstring.

    Args:
        text: A docstring.
        within: The path of the object that has it, in which relative names are looked up.
    """

    def link(match: re.Match[str]) -> str:
        name = match[2] if match[2].startswith("guidance") else f"{within}.{match[2]}"
        shown = match[2].rpartition(".")[2] if match[1] else match[2]
        return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'

    return _ROLE.sub(link, text)


class DocstringLinks(Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            within = obj.path if obj.is_class or obj.is_module else obj.path.rpartition(".")[0]
            obj.docstring.value = linked(obj.docstring.value, within)
