"""A report that is one HTML file: no links out, pictures inside; it reads well in ten years and on paper.

A page has no scripts but those that a workload brings along; its policy names each by its hash, and lets no other run.
Every text is escaped. The same content gives the same bytes, so that a run that is repeated publishes the same report.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal
from urllib.parse import quote

Align = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One key figure: `value` is large, `label` above it, `note` small below it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG picture with the caption below it and `alt`, what it shows, for those who cannot see it."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many of one class. `colour` is `#rrggbb`: for point clouds the usual colour of the ASPRS class."""

    label: str
    count: int
    colour: str


@dataclass(frozen=True, slots=True)
class FileLink:
    """A product beside the report; `path` is relative to the report's folder, `bytes` its size."""

    path: str
    kind: str
    bytes: int


STAGE_COLOURS = ("#3a6ea5", "#2a9d8f", "#d98e04", "#b5533c", "#7a5195", "#5f7d3a", "#6c757d")
_STATUS = {
    "SUCCEEDED": ("good", "Succeeded"),
    "PARTIAL": ("part", "Partial"),
    "FAILED": ("bad", "Failed"),
}
_HOLES_SHOWN = 200
_PNG = b"\x89PNG\r\n\x1a\n"


class Report:
    """A report in sections, in the order in which they are added.

    >>> page = Report("site.laz", "ground classification", "SUCCEEDED")
    >>> page.figures([Figure("Points", "110,000")]).html()[:15]
    '<!doctype html>'
    """

    def __init__(self, title: str, subtitle: str = "", status: str = "SUCCEEDED") -> None:
        self.title = title
        self.subtitle = subtitle
        self.status = status
        self._holes: list[str] = []
        self._sections: list[str] = []
        self._styles: list[str] = []
        self._scripts: list[str] = []

    def holes(self, missing: Sequence[str]) -> Report:
        """The tiles that are missing in a PARTIAL product; they head the page."""
        self._holes = list(missing)
        return self

    def figures(self, figures: Sequence[Figure]) -> Report:
        """The numbers a reader wants first."""
        cells = "".join(
            f"<div class=figure><dt>{escape(figure.label)}</dt><dd>{escape(figure.value)}</dd>"
            + (f"<dd class=note>{escape(figure.note)}</dd>" if figure.note else "")
            + "</div>"
            for figure in figures
        )
        return self._add("", f"<dl class=figures>{cells}</dl>")

    def text(self, heading: str, *paragraphs: str) -> Report:
        """Plain paragraphs."""
        return self._add(heading, "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs))

    def warnings(self, warnings: Sequence[str]) -> Report:
        """What a reader should know before trusting the products; nothing is shown when there is nothing."""
        if not warnings:
            return self
        lines = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
        return self._add("Warnings", f"<ul class=warnings>{lines}</ul>")

    def table(
        self,
        heading: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        align: Sequence[Align] = (),
        note: str = "",
    ) -> Report:
        """A table; by default columns whose cells are all numbers are aligned right and written with thousands separators."""
        sides = list(align) or [_side([row[column] for row in rows]) for column in range(len(columns))]
        head = "".join(f'<th scope=col class="{side}">{escape(name)}</th>' for name, side in zip(columns, sides, strict=True))
        body = "".join(
            "<tr>"
            + "".join(f'<td class="{side}">{escape(_cell(cell))}</td>' for cell, side in zip(row, sides, strict=True))
            + "</tr>"
            for row in rows
        )
        after = f"<p class=note>{escape(note)}</p>" if note else ""
        table = f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        return self._add(heading, table + after)

    def facts(self, heading: str, facts: Mapping[str, object]) -> Report:
        """Names and values, two columns."""
        lines = "".join(
            f"<tr><th scope=row>{escape(name)}</th><td>{escape(_cell(fact))}</td></tr>" for name, fact in facts.items()
        )
        return self._add(heading, f"<div class=scroll><table class=facts><tbody>{lines}</tbody></table></div>")

    def pictures(self, heading: str, pictures: Sequence[Picture]) -> Report:
        """PNG pictures, inlined; two abreast where there is room. Raises `ValueError` if one is not a PNG."""
        shown = "".join(_figure(picture) for picture in pictures)
        alone = " alone" if len(pictures) == 1 else ""
        return self._add(heading, f'<div class="pictures{alone}">{shown}</div>')

    def classes(self, heading: str, counts: Sequence[ClassCount], *, unit: str = "points") -> Report:
        """Bars of how many of each class there are, with their share of all."""
        total = sum(entry.count for entry in counts)
        most = max((entry.count for entry in counts), default=0)
        rows = "".join(
            f"<div class=bar><span class=name>{escape(entry.label)}</span>"
            + _bar(entry.count / most if most else 0.0, _colour(entry.colour), f"{entry.label}: {entry.count:,} {unit}")
            + f"<span class=count>{entry.count:,}</span><span class=share>{_percent(entry.count, total)}</span></div>"
            for entry in counts
        )
        return self._add(heading, f"<div class=bars>{rows}</div><p class=note>{total:,} {escape(unit)} in all</p>")

    def timings(
        self, stages: Mapping[str, float], total_s: float | None = None, *, heading: str = "Where the time went"
    ) -> Report:
        """One bar of wall seconds by stage. What `total_s` has beyond the stages is shown as waiting."""
        seconds = dict(stages)
        rest = (total_s or 0.0) - sum(seconds.values())
        if total_s and rest > 0.005 * total_s:
            seconds["between the stages"] = rest
        whole = sum(seconds.values())
        if whole <= 0:
            return self
        parts, legend, x = [], [], 0.0
        for number, (name, value) in enumerate(seconds.items()):
            colour = STAGE_COLOURS[number % len(STAGE_COLOURS)]
            width = 1000 * value / whole
            parts.append(
                f'<rect x="{x:.2f}" y="0" width="{width:.2f}" height="28" fill="{colour}">'
                f"<title>{escape(name)}: {escape(duration(value))}</title></rect>"
            )
            legend.append(
                '<li><svg class=key viewBox="0 0 10 10" aria-hidden="true">'
                f'<rect width="10" height="10" rx="2" fill="{colour}"/></svg>'
                f"{escape(name)} <b>{escape(duration(value))}</b> <span>{_percent(value, whole)}</span></li>"
            )
            x += width
        said = escape(", ".join(f"{name} {duration(value)}" for name, value in seconds.items()))
        bar = (
            f'<svg class=stack viewBox="0 0 1000 28" preserveAspectRatio="none" role="img" aria-label="{said}">'
            f"{''.join(parts)}</svg>"
        )
        return self._add(heading, f"{bar}<ul class=legend>{''.join(legend)}</ul>")

    def block(self, heading: str, html: str, *, style: str = "", script: str = "") -> Report:
        """HTML of the workload's own, which escapes its texts itself; a script runs once the page is there."""
        self._styles += [style.replace("\n", "")] if style else []
        self._scripts += [script] if script else []
        return self._add(heading, html)

    def files(self, heading: str, files: Sequence[FileLink]) -> Report:
        """The products beside the report, as relative links."""
        rows = "".join(
            f'<tr><td><a href="{escape(_relative(file.path))}">{escape(file.path)}</a></td><td>{escape(file.kind)}</td>'
            f'<td class="right">{escape(size(file.bytes))}</td></tr>'
            for file in files
        )
        head = '<th scope=col>File</th><th scope=col>What</th><th scope=col class="right">Size</th>'
        return self._add(heading, f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>")

    def html(self) -> str:
        """The page."""
        kind, word = _STATUS.get(self.status, ("", self.status))
        subtitle = f"<p class=subtitle>{escape(self.subtitle)}</p>" if self.subtitle else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            '<meta http-equiv="Content-Security-Policy" '
            f"content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'{_allowed(self._scripts)}\">"
            f"<title>{escape(self.title)}</title><style>{_CSS}{''.join(self._styles)}</style></head><body><main>"
            f'<header><div><h1>{escape(self.title)}</h1>{subtitle}</div><p class="status {kind}">{escape(word)}</p></header>'
            f"{self._banner()}{''.join(self._sections)}"
            "<footer>Made by Tilery. This page is complete in itself: it loads nothing.</footer></main>"
            f"{''.join(f'<script>{script}</script>' for script in self._scripts)}</body></html>\n"
        )

    def _banner(self) -> str:
        if self.status != "PARTIAL" and not self._holes:
            return ""
        count = len(self._holes)
        if not count:
            said, listed = "Some parts are missing; the record run.json lists them.", ""
        else:
            said = "1 part is missing and left as a hole:" if count == 1 else f"{count:,} parts are missing and left as holes:"
            names = "".join(f"<li>{escape(name)}</li>" for name in self._holes[:_HOLES_SHOWN])
            more = f"<li>and {count - _HOLES_SHOWN:,} more, listed in run.json</li>" if count > _HOLES_SHOWN else ""
            listed = f"<ul>{names}{more}</ul>"
        return (
            '<aside class="banner" role="alert"><h2>PARTIAL: this product has holes</h2>'
            f"<p>{said}</p>{listed}<p>Run <code>tilery redo</code> on this run to do only what is missing.</p></aside>"
        )

    def _add(self, heading: str, content: str) -> Report:
        title = f"<h2>{escape(heading)}</h2>" if heading else ""
        self._sections.append(f"<section>{title}{content}</section>")
        return self


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.042), duration(5.25), duration(3723)
    ('42 ms', '5.2 s', '1 h 2 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Bytes as a person says them, in powers of 1,000.

    >>> size(999), size(81_234_567)
    ('999 B', '81.2 MB')
    """
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def _allowed(scripts: Sequence[str]) -> str:
    """The part of the page's policy that lets its own scripts run."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return "; script-src " + " ".join(f"'sha256-{digest}'" for digest in digests) if digests else ""


def _figure(picture: Picture) -> str:
    width, height = _png_size(picture.png)
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{escape(picture.alt)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _png_size(png: bytes) -> tuple[int, int]:
    if not png.startswith(_PNG) or len(png) < 24:
        raise ValueError("a report takes PNG pictures only, and these bytes are not a PNG")
    width, height = struct.unpack(">II", png[16:24])
    return int(width), int(height)


def _bar(share: float, colour: str, label: str) -> str:
    width = max(1000 * share, 2.0) if share > 0 else 0.0
    return (
        f'<svg viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f'<rect class=track width="1000" height="16"/><rect width="{width:.1f}" height="16" fill="{colour}"/></svg>'
    )


def _colour(colour: str) -> str:
    if len(colour) != 7 or colour[0] != "#" or any(letter not in "0123456789abcdefABCDEF" for letter in colour[1:]):
        raise ValueError(f"a colour is written #rrggbb, not {colour!r}")
    return colour


def _percent(part: float, whole: float) -> str:
    if not whole:
        return "-"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %".replace("<", "&lt;")
    return f"{share:.1f} %"


def _side(cells: Sequence[object]) -> Align:
    return "right" if cells and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells) else "left"


def _cell(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        case list() | tuple():
            return ", ".join(_cell(part) for part in value) or "-"
        case None:
            return "-"
        case _:
            return str(value)


def _relative(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"a report links only to files beside it, not to {path!r}")
    return "./" + quote(path)


_CSS = """
:root{--ink:#1b2430;--soft:#5b6775;--line:#dfe4ea;--page:#f4f6f8;--card:#fff;--accent:#1f6f63;
--good:#1d7a4c;--part:#9a5b00;--bad:#b3261e;--track:#edf0f3;--warn:#fff6e3;--warnline:#d98e04}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaef;--soft:#9aa7b4;--line:#2c3641;--page:#11161c;--card:#19212a;
--accent:#5cc4b2;
--good:#5fca92;--part:#f0b04f;--bad:#ff8a80;--track:#242e39;--warn:#2c2414;--warnline:#b87d12}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 20px 28px}
header{display:flex;gap:20px;align-items:flex-start;justify-content:space-between;margin-bottom:26px}
h1{font-size:1.9rem;line-height:1.2;letter-spacing:-.015em;margin:0;overflow-wrap:anywhere}
h2{font-size:1.08rem;margin:0 0 14px;letter-spacing:-.005em}
.subtitle{margin:6px 0 0;color:var(--soft)}
.status{margin:4px 0 0;padding:4px 14px;border-radius:99px;border:1.5px solid currentColor;font-weight:600;
white-space:nowrap;color:var(--soft)}
.status.good{color:var(--good)}.status.part{color:var(--part)}.status.bad{color:var(--bad)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 24px;margin:0 0 18px;
break-inside:avoid}
p{margin:0 0 10px}p:last-child{margin-bottom:0}
.note{color:var(--soft);font-size:.88rem;margin:10px 0 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:20px 26px;margin:0}
.figure dt{color:var(--soft);font-size:.86rem}
.figure dd{margin:0;font-size:1.55rem;line-height:1.25;font-weight:600;letter-spacing:-.02em;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.figure dd.note{font-size:.84rem;font-weight:400;letter-spacing:0;margin:2px 0 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
th,td{padding:7px 14px 7px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}
thead th{color:var(--soft);font-weight:600;font-size:.84rem}
td{overflow-wrap:anywhere}
.right{text-align:right;white-space:nowrap}th:last-child,td:last-child{padding-right:0}
.facts th{font-weight:400;color:var(--soft);width:34%}
a{color:var(--accent)}
.warnings{margin:0;padding:14px 18px 14px 34px;background:var(--warn);border-left:4px solid var(--warnline);
border-radius:6px}
.banner{background:var(--warn);border:2px solid var(--warnline);border-radius:12px;padding:20px 24px;margin:0 0 18px}
.banner h2{color:var(--part);font-size:1.25rem;margin:0 0 8px}
.banner ul{margin:0 0 12px;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:6px;max-height:15em;
overflow:auto}
.banner li{border:1px solid var(--warnline);border-radius:5px;padding:1px 9px;
font:.85rem/1.6 ui-monospace,SFMono-Regular,Menlo,monospace}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,monospace}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:20px}
.pictures.alone{grid-template-columns:1fr}
figure{margin:0}
img{display:block;width:100%;height:auto;border-radius:8px;border:1px solid var(--line);background:var(--track)}
figcaption{color:var(--soft);font-size:.88rem;margin-top:8px}
.bar{display:grid;grid-template-columns:minmax(110px,200px) 1fr minmax(84px,auto) 64px;gap:14px;align-items:center;
padding:4px 0;font-size:.93rem}
.bar svg{width:100%;height:16px;display:block;border-radius:4px}
.track{fill:var(--track)}
.count,.share{text-align:right;font-variant-numeric:tabular-nums}.share{color:var(--soft)}
.stack{display:block;width:100%;height:28px;border-radius:6px}
.legend{list-style:none;margin:14px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:6px 24px;font-size:.92rem}
.legend span{color:var(--soft)}.legend b{font-weight:600;font-variant-numeric:tabular-nums}
.key{width:11px;height:11px;margin-right:8px}
footer{color:var(--soft);font-size:.84rem;text-align:center;margin-top:26px}
@media (max-width:560px){header{flex-direction:column;gap:10px}section{padding:18px 16px}
.bar{grid-template-columns:1fr auto auto;gap:4px 12px}.bar .name{grid-column:1}.bar svg{grid-column:1/-1;grid-row:2}}
@media print{:root{--ink:#000;--soft:#444;--line:#ccc;--page:#fff;--card:#fff;--accent:#000;--good:#1d7a4c;
--part:#9a5b00;--bad:#b3261e;
--track:#edf0f3;--warn:#fff6e3;--warnline:#d98e04}
body{font-size:11pt}main{max-width:none;padding:0}section,.banner{border-radius:0;padding:12px 0;border-width:0 0 1px}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}.banner ul{max-height:none}}
""".replace("\n", "")
