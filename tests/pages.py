"""README.md and docs/*.md: their text, by the path."""

from agwm.paths import root

PAGES = {
    str(path.relative_to(root())): path.read_text(encoding="utf-8")
    for path in [root() / "README.md", *sorted((root() / "docs").glob("*.md"))]
}
