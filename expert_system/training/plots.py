"""Draw the plots of evaluations and composition tests as PNG, with Pillow.

    report -> bars with intervals; matrix -> heat map

Promise: what is drawn is what the report says, and the same report gives the same picture.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLOURS = {
    "base": "#9aa5b1",
    "few_shot": "#5b7fa6",
    "expert": "#d1602f",
    "expert_with_grammar": "#8a3ffc",
}
INK, GRID, PAPER = "#1f2933", "#d9dee4", "#ffffff"
FONT, TITLE = 15, 19
"""Heights of letters in pixels."""
MARGIN = 24
BAR, GAP = 15, 14
"""Heights of a bar and of the space between groups, in pixels."""
PLOT_WIDTH = 520
CELL_HEIGHT = 44
FULL_COLOUR = 0.3
"""A change of so many points of 0 to 1 has the full colour."""
MAX_GROUPS = 40
"""Groups of bars in one picture; the report's table has them all."""


class Canvas:
    """A picture and what is needed to write on it."""

    def __init__(self, width: int, height: int) -> None:
        """Start with an empty sheet.

        Raises:
            ConfigError: Pillow is not installed.
        """
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError:
            raise ConfigError("Pillow is not installed; install expert-system[train]") from None
        self._image = Image.new("RGB", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self._image)
        self._fonts = {size: ImageFont.load_default(size) for size in (FONT, TITLE)}

    def text(self, x: float, y: float, text: str, *, size: int = FONT, anchor: str = "lm", fill: str = INK) -> None:
        """Write one line; the anchor is Pillow's: l, m or r, then t or m."""
        self.draw.text((x, y), text, fill=fill, font=self._fonts[size], anchor=anchor)

    def width_of(self, text: str) -> int:
        """How wide a line of text is, in pixels."""
        return int(self.draw.textlength(text, font=self._fonts[FONT])) + 1

    def png(self) -> bytes:
        """The picture as a file."""
        stream = io.BytesIO()
        self._image.save(stream, format="PNG", optimize=True)
        return stream.getvalue()


def draw_bars(report: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """Bars of every measure with its intervals, then of the primary measure by category.

    Args:
        report: of an evaluation.
        names: of the contenders, in the order they are drawn.
    """
    whos = [who for who in names if any(who in measure for measure in report["measures"])]
    groups: list[tuple[str, dict[str, tuple[float, float, float]]]] = [
        (measure["name"], {who: _point(measure[who]) for who in whos if who in measure})
        for measure in report["measures"]
    ]
    split = len(groups)
    for tag, row in report["by_category"].items():
        groups.append((f"{tag} ({row['examples']})", {who: (row[who],) * 3 for who in whos if who in row}))
    groups = groups[:MAX_GROUPS]
    probe = Canvas(1, 1)
    left = MARGIN + max(probe.width_of(name) for name, _ in groups) + 12
    top = MARGIN + 2 * TITLE + 22
    height_of_group = len(whos) * BAR + GAP
    bottom = top + len(groups) * height_of_group + (2 * FONT if split < len(groups) else 0)
    canvas = Canvas(left + PLOT_WIDTH + 70 + MARGIN, bottom + FONT + 2 * MARGIN)
    title = f"{report['expert']} {report['version']} on {report['base']}, {report['held_out_examples']} held-out cases"
    canvas.text(MARGIN, MARGIN + TITLE / 2, title, size=TITLE)
    _legend(canvas, whos, names, MARGIN + TITLE + 24)
    for step in range(6):
        x = left + PLOT_WIDTH * step / 5
        canvas.draw.line((x, top, x, bottom), fill=GRID)
        canvas.text(x, bottom + FONT, f"{step * 20}%", anchor="mm")
    y = float(top)
    for index, (name, bars) in enumerate(groups):
        if index == split:
            canvas.text(left, y + FONT * 0.8, f"{report['primary']}, by category")
            y += 2 * FONT
        canvas.text(left - 10, y + len(whos) * BAR / 2, name, anchor="rm")
        for row, who in enumerate(whos):
            if who in bars:
                _bar(canvas, left, y + row * BAR, bars[who], COLOURS[who])
        y += height_of_group
    return canvas.png()


def draw_heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], changes: Sequence[Sequence[float | None]]
) -> bytes:
    """A matrix of changes in points of 0 to 1: red where something is lost, blue where it is gained."""
    probe = Canvas(1, 1)
    left = MARGIN + max(probe.width_of(name) for name in rows) + 12
    cell = max(90, *(probe.width_of(name) + 16 for name in columns))
    top = MARGIN + TITLE + 60
    width = max(left + cell * len(columns), MARGIN + probe.width_of(title) * TITLE // FONT) + MARGIN
    canvas = Canvas(width, top + CELL_HEIGHT * len(rows) + MARGIN + 2 * FONT)
    canvas.text(MARGIN, MARGIN + TITLE / 2, title, size=TITLE)
    canvas.text(left, top - 40, "in the company of", fill="#52606d")
    for index, name in enumerate(columns):
        canvas.text(left + cell * (index + 0.5), top - 14, name, anchor="mm")
    for line, name in enumerate(rows):
        y = top + CELL_HEIGHT * line
        canvas.text(left - 10, y + CELL_HEIGHT / 2, name, anchor="rm")
        for index, change in enumerate(changes[line]):
            x = left + cell * index
            box = (x, y, x + cell - 2, y + CELL_HEIGHT - 2)
            canvas.draw.rectangle(box, fill=GRID if change is None else _heat(change))
            if change is not None:
                canvas.text(x + cell / 2, y + CELL_HEIGHT / 2, f"{100 * change:+.1f}", anchor="mm")
    canvas.text(left, top + CELL_HEIGHT * len(rows) + FONT, "rows: whose own cases", fill="#52606d")
    return canvas.png()


def _heat(change: float) -> tuple[int, int, int]:
    """White for no change, full colour from FULL_COLOUR on."""
    share = min(1.0, abs(change) / FULL_COLOUR)
    end = (214, 69, 65) if change < 0 else (70, 130, 190)
    red, green, blue = (round(255 + share * (part - 255)) for part in end)
    return red, green, blue


def _point(interval: Mapping[str, float]) -> tuple[float, float, float]:
    return interval["value"], interval["low"], interval["high"]


def _bar(canvas: Canvas, left: float, y: float, point: tuple[float, float, float], colour: str) -> None:
    """One bar from zero, its interval as a whisker, its value behind it."""
    value, low, high = point
    end = left + PLOT_WIDTH * value
    canvas.draw.rectangle((left, y + 2, max(end, left + 1), y + BAR - 2), fill=colour)
    if high > low:
        middle = y + BAR / 2
        start, stop = left + PLOT_WIDTH * low, left + PLOT_WIDTH * high
        canvas.draw.line((start, middle, stop, middle), fill=INK, width=2)
        for x in (start, stop):
            canvas.draw.line((x, middle - 4, x, middle + 4), fill=INK, width=2)
    canvas.text(left + PLOT_WIDTH * max(value, high) + 6, y + BAR / 2, f"{value:.1%}")


def _legend(canvas: Canvas, whos: Sequence[str], names: Mapping[str, str], y: float) -> None:
    x = float(MARGIN)
    for who in whos:
        canvas.draw.rectangle((x, y - 6, x + 14, y + 8), fill=COLOURS[who])
        canvas.text(x + 20, y, names[who])
        x += 20 + canvas.width_of(names[who]) + 24
