"""The HTML report: complete in itself, escaped, and honest about holes."""

import re
import struct
import zlib
from html.parser import HTMLParser

import pytest

from tilery.report import ClassCount, Figure, FileLink, Picture, Report, duration, size

VOID = {"meta", "img", "br", "link", "hr"}
NASTY = "<script>alert('x')</script> & \"quoted\""


def png(width: int = 4, height: int = 3) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Page(HTMLParser):
    """Every tag with its attributes, the text outside of styles, and whether tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def everything(text: str = "plain", status: str = "PARTIAL") -> Report:
    return (
        Report(text, text, status)
        .holes([text, "tile-7"])
        .figures([Figure(text, text, text)])
        .warnings([text])
        .text(text, text)
        .pictures(text, [Picture(png(), text, text)])
        .classes(text, [ClassCount(text, 900, "#aa6633"), ClassCount("Noise", 0, "#ff0000")])
        .timings({text: 2.0, "process": 6.0}, 10.0)
        .table(text, [text, "count"], [[text, 12345]], note=text)
        .facts(text, {text: text, "tolerate": 0.5, "lanes": ["a", "b"]})
        .files(text, [FileLink("sites/a b & c.laz", text, 12_345_678)])
    )


def test_every_tag_that_opens_also_closes() -> None:
    assert Page(everything().html()).open == []


def test_text_from_people_is_never_read_as_markup() -> None:
    page = Page(everything(NASTY).html())

    assert page.all("script") == []
    assert page.text.count(NASTY) >= 12
    assert all(image["alt"] == NASTY for image in page.all("img"))
    assert page.open == []


def test_the_page_loads_nothing_from_anywhere() -> None:
    html = everything().html()
    page = Page(html)

    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    addresses = [value or "" for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(address.startswith(("data:image/png;base64,", "./")) for address in addresses)
    assert not re.search(r"url\(|@import|//", re.sub(r"base64,[^\"]*", "", html))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_a_partial_product_says_so_first_and_lists_its_holes() -> None:
    html = Report("site", status="PARTIAL").figures([Figure("Points", "1")]).holes(["tile-3_4", "tile-3_5"]).html()

    assert "PARTIAL: this product has holes" in html
    assert "2 parts are missing" in html
    assert html.index("tile-3_4") < html.index("Points")
    assert "PARTIAL" not in Report("site").html()


def test_a_thousand_holes_do_not_bury_the_page() -> None:
    html = Report("site", status="PARTIAL").holes([f"tile-{n}" for n in range(1000)]).html()

    assert "1,000 parts are missing" in html
    assert html.count("<li>tile-") == 200
    assert "and 800 more" in html


def test_the_share_of_each_class_is_of_all_points() -> None:
    page = Page(
        Report("site").classes("Classes", [ClassCount("Ground", 750, "#aa6633"), ClassCount("Rest", 250, "#cccccc")]).html()
    )

    assert "75.0 %" in page.text
    assert "25.0 %" in page.text
    assert "1,000 points in all" in page.text
    widths = [float(bar["width"] or 0) for bar in page.all("rect") if bar.get("fill")]
    assert widths == [1000.0, pytest.approx(333.3)]


def test_timings_fill_the_bar_and_show_the_time_between_stages() -> None:
    page = Page(Report("site").timings({"tile": 2.0, "process": 6.0}, 10.0).html())

    parts = [bar for bar in page.all("rect") if bar.get("height") == "28"]
    assert [float(part["width"] or 0) for part in parts] == [200.0, 600.0, 200.0]
    assert "between the stages 2.0 s 20.0 %" in page.text


def test_nothing_to_warn_of_or_to_time_leaves_no_empty_section() -> None:
    assert Report("site").warnings([]).timings({}).html() == Report("site").html()


def test_numbers_are_aligned_right_and_texts_left() -> None:
    page = Page(Report("site").table("T", ["name", "count"], [["a", 12345], ["b", 6]]).html())

    assert [cell["class"] for cell in page.all("td")] == ["left", "right", "left", "right"]
    assert "12,345" in page.text


def test_a_picture_keeps_its_place_before_it_is_drawn() -> None:
    image = Page(Report("site").pictures("P", [Picture(png(40, 30), "caption", "a hill")]).html()).all("img")[0]

    assert (image["width"], image["height"], image["alt"]) == ("40", "30", "a hill")


def test_what_is_no_png_or_no_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        Report("site").pictures("P", [Picture(b"GIF89a", "", "")])
    with pytest.raises(ValueError, match="#rrggbb"):
        Report("site").classes("C", [ClassCount("Ground", 1, "red;background:url(x)")])


@pytest.mark.parametrize("path", ["/etc/passwd", "../other.laz", "a/../../b"])
def test_links_stay_beside_the_report(path: str) -> None:
    with pytest.raises(ValueError, match="beside it"):
        Report("site").files("Files", [FileLink(path, "classified", 1)])


def test_the_same_content_gives_the_same_bytes() -> None:
    assert everything().html() == everything().html()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0421, "42 ms"), (5.25, "5.2 s"), (59.96, "60.0 s"), (61, "1 min 1 s"), (3723, "1 h 2 min")]
)
def test_durations_read_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (81_234_567, "81.2 MB"), (2 * 10**15, "2000 TB")],
)
def test_sizes_read_as_people_say_them(count: int, said: str) -> None:
    assert size(count) == said
