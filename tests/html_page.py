"""What a browser would make of a page, and names that try to break out of it."""

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>&\"'${x}_%#|[red]"


class Page(HTMLParser):
    """Tags, attributes, addresses and cells of a page, as a browser would read them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.links, self.cells, self._open = [], [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self._open = tag == "td" or (self._open and tag in ("b", "wbr"))
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag != "td"

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data
