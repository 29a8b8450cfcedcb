"""Documents of the repository's root become pages, and links between them and docs/ hold on both sides."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "data/README.md": "data.md",
    "LICENSE": "LICENSE.txt",
}
"""Paths in the repository, and what they are called in the site."""

_LINK = re.compile(r"(\]\()([^)#:\s]+)([^)]*\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's documents to the site."""
    root = Path(config.config_file_path).parent
    for path, name in PAGES.items():
        files.append(File.generated(config, name, content=(root / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    return in_site(markdown, page.file.src_uri)


def in_site(markdown: str, name: str) -> str:
    """Rewrite the links of a page.

    Args:
        markdown: Its text, with links as they hold in the repository.
        name: What it is called in the site.

    Returns:
        The text, with links as they hold in the site. Links that lead nowhere stay as they are.
    """
    sources = {page: path for path, page in PAGES.items()}
    folder = PurePosixPath(sources.get(name, f"docs/{name}")).parent
    up = "../" * (len(PurePosixPath(name).parts) - 1)

    def rewrite(match: re.Match[str]) -> str:
        target = normpath((folder / match[2]).as_posix())
        if target in PAGES:
            return f"{match[1]}{up}{PAGES[target]}{match[3]}"
        if target.startswith("docs/"):
            return f"{match[1]}{up}{target.removeprefix('docs/')}{match[3]}"
        return match[0]

    return _LINK.sub(rewrite, markdown)
