"""Pairs of axes, side by side, as SVG: what the scripts of tools/ draw with. Needs nothing but Python."""
import math, os

COLOURS = ["#1b6ca8", "#d1495b", "#2e8b57", "#e09f3e", "#7a4fa3", "#4d5a66", "#00a6a6"]
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def number(value):
    if value >= 1000 and value == int(value):
        return f"{int(value):,}"
    return f"{value:g}"


class Panel:
    """One pair of axes. Axes are linear or logarithmic; ticks are given or powers of ten."""

    width, height = 440, 300
    left, right, top, bottom = 58, 14, 40, 46

    def __init__(self, title, x, y, xs, ys, log_x=False, log_y=False, x_ticks=None, y_ticks=None):
        self.title, self.x, self.y = title, x, y
        self.xs, self.ys, self.log_x, self.log_y = xs, ys, log_x, log_y
        self.x_ticks = x_ticks or self.ticks(xs, log_x)
        self.y_ticks = y_ticks or self.ticks(ys, log_y)
        self.marks, self.names = [], []
        # Of ticks that stand for something else.
        self.labels = {}

    @staticmethod
    def ticks(limits, is_log):
        low, high = limits
        if is_log:
            exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
            return [10 ** e for e in exponents]
        step = 10 ** math.floor(math.log10((high - low) / 4))
        for factor in (5, 2):
            if (high - low) / (step * factor) >= 4:
                step *= factor
                break
        first = math.ceil(low / step - 1e-9)
        return [round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]

    def place(self, x, y):
        def share(value, limits, is_log):
            low, high = limits
            if is_log:
                value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
            return (min(max(value, low), high) - low) / (high - low)
        across = self.left + share(x, self.xs, self.log_x) * (self.width - self.left - self.right)
        down = self.height - self.bottom - share(y, self.ys, self.log_y) * (self.height - self.top - self.bottom)
        return round(across, 1), round(down, 1)

    def line(self, name, points, colour, dashed=False, dots=True, band=None):
        if band:
            outline = [self.place(x, high) for x, _, high in band] + [self.place(x, low) for x, low, _ in reversed(band)]
            path = " ".join(f"{x},{y}" for x, y in outline)
            self.marks.append(f'<polygon points="{path}" fill="{colour}" fill-opacity="0.13"/>')
        places = [self.place(x, y) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in places)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        if dots:
            self.marks += [f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>' for x, y in places]
        if name:
            self.names.append((name, colour, dashed))

    def points(self, name, points, colour):
        places = [self.place(x, y) for x, y in points]
        dots = "".join(f"M{x},{y}h0" for x, y in sorted(set(places)))
        self.marks.append(
            f'<path d="{dots}" stroke="{colour}" stroke-width="3.2" stroke-linecap="round" stroke-opacity="0.6"/>')
        self.names.append((name, colour, False))

    def svg(self, across, legend):
        parts = [f'<g transform="translate({across},0)">']
        parts.append(f'<text x="{self.left}" y="22" {FONT} font-size="13" font-weight="bold">{self.title}</text>')
        right, base = self.width - self.right, self.height - self.bottom
        for tick in self.x_ticks:
            x, _ = self.place(tick, self.ys[0])
            parts.append(f'<line x1="{x}" y1="{self.top}" x2="{x}" y2="{base}" stroke="#e4e4e4"/>')
            parts.append(f'<text x="{x}" y="{base + 15}" {FONT} font-size="11" text-anchor="middle">{number(tick)}</text>')
        for tick in self.y_ticks:
            _, y = self.place(self.xs[0], tick)
            parts.append(f'<line x1="{self.left}" y1="{y}" x2="{right}" y2="{y}" stroke="#e4e4e4"/>')
            parts.append(f'<text x="{self.left - 6}" y="{y + 4}" {FONT} font-size="11" text-anchor="end">{self.labels.get(tick, number(tick))}</text>')
        parts.append(
            f'<path d="M{self.left},{self.top}V{base}H{right}" fill="none" stroke="#888"/>'
            f'<text x="{(self.left + right) / 2}" y="{base + 34}" {FONT} font-size="12" text-anchor="middle">{self.x}</text>'
            f'<text transform="translate(14,{(self.top + base) / 2}) rotate(-90)" {FONT} font-size="12" text-anchor="middle">{self.y}</text>')
        parts += self.marks
        if legend:
            for row, (name, colour, dashed) in enumerate(self.names):
                y = self.top + 8 + 16 * row
                dash = ' stroke-dasharray="5 4"' if dashed else ""
                x = self.width
                parts.append(
                    f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>'
                    f'<text x="{x + 28}" y="{y + 4}" {FONT} font-size="12">{name}</text>')
        return "\n".join(parts) + "\n</g>"


def write(folder, name, panels, legend_width=170):
    width = sum(panel.width for panel in panels) + legend_width
    height = panels[0].height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    across = 0
    for panel in panels:
        # The legend of the last holds for all.
        parts.append(panel.svg(across, panel is panels[-1]))
        across += panel.width
    with open(os.path.join(folder, name), "w") as file:
        file.write("\n".join(parts) + "\n</svg>\n")
