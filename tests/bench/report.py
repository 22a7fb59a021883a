# SPDX-License-Identifier: MIT
"""What a run of the bench found, for machines (JSON), for people (Markdown) and for the eye (SVG)."""
import json
import math
import os
import statistics

# Peers homeport is held against, in the tables' order; a row's best peer is the one that did best in it.
RULER = "native"
OURS = "homeport"


def more_is_better(row):
    return "MiB/s" in row or "connections/s" in row


def medians(row_samples):
    return {name: statistics.median(values) for name, values in row_samples.items()}


def ratio(row, row_samples):
    """How many times faster homeport is than the best peer of the row; None without a peer."""
    middle = medians(row_samples)
    peers = [v for n, v in middle.items() if n not in (RULER, OURS)]
    if not peers or OURS not in middle:
        return None
    return middle[OURS] / max(peers) if more_is_better(row) else min(peers) / middle[OURS]


def shown(row, value):
    if more_is_better(row):
        return f"{value:.0f}"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms" if value >= 0.001 else f"{value * 1e6:.0f} µs"


def table(samples, cpu):
    names = []
    for row in samples.values():
        names += [n for n in row if n not in names]
    lines = ["| row | " + " | ".join(names) + " | × best peer | × its CPU |", "|---|" + "---|" * (len(names) + 2)]

    def key(item):
        r = ratio(*item)
        return r if r is not None else 1e9

    for row, by_name in sorted(samples.items(), key=key):
        middle, r = medians(by_name), ratio(row, by_name)
        cells = [shown(row, middle[n]) if n in middle else "" for n in names]
        used = medians(cpu.get(row, {}))
        peers = [v for n, v in used.items() if n not in (RULER, OURS)]
        more = f"{used[OURS] / min(peers):.2f}" if OURS in used and peers and min(peers) > 0.02 else ""
        lines.append(f"| {row} | " + " | ".join(cells) + f" | {'' if r is None else f'{r:.2f}'} | {more} |")
    return lines


def svg(samples, title):
    """Bars of homeport's speed over the best peer's, one a row, on a logarithmic scale with a line at 1."""
    rows = [(row, ratio(row, s)) for row, s in samples.items() if ratio(row, s)]
    rows.sort(key=lambda r: r[1])
    left, width, high = 340, 440, 24
    scale = max([abs(math.log2(r)) for _, r in rows] + [1])
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{len(rows) * high + 60}" '
           'font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="10" y="22" font-weight="bold">{title}</text>']
    one = left + width / 2
    for i, (row, r) in enumerate(rows):
        y = 40 + i * high
        x = one + math.log2(r) / scale * width / 2
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{row}</text>')
        out.append(f'<rect x="{min(x, one):.1f}" y="{y + 2}" width="{abs(x - one):.1f}" height="{high - 8}" '
                   f'fill="{"#2a7" if r >= 1 else "#c43"}"/>')
        out.append(f'<text x="{max(x, one) + 6:.1f}" y="{y + 14}">{r:.2f}×</text>')
    out.append(f'<line x1="{one}" x2="{one}" y1="34" y2="{len(rows) * high + 44}" stroke="#333"/>')
    return "\n".join(out + ["</svg>", ""])


def write(results, folder):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "results.json"), "w") as f:
        json.dump(results, f, indent=1)
    lines = ["# homeport beside its peers", "",
             f"{results['date']}, kernel {results['kernel']}, {results['cores']} cores, median of {results['rounds']} rounds, aes128-gcm "
             "everywhere; cold is a fresh mount on a warm host. The slowest rows come first.", ""]
    if "requests" in results:
        results["rows"] = {row: {"requests": statistics.median(n), **{f"MiB, {name}": round(statistics.median(v), 1)
                           for name, v in results["memory"][row].items() if name != RULER}}
                           for row, n in results["requests"].items()}
    for kind in ("files", "ports"):
        if kind in results:
            lines += [f"## {kind}", "", *table(results[kind], results[kind + "_cpu"]), ""]
            with open(os.path.join(folder, kind + ".svg"), "w") as f:
                f.write(svg(results[kind], f"homeport's speed over its best peer's: {kind}"))
    if "rows" in results:
        names = list(dict.fromkeys(k for row in results["rows"].values() for k in row))
        lines += ["## requests of homeport, and memory at most (MiB, all processes of a candidate)", "",
                  "| row | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        lines += [f"| {row} | " + " | ".join(f"{cells.get(n, '')}" for n in names) + " |" for row, cells in results["rows"].items()]
        lines.append("")
    with open(os.path.join(folder, "results.md"), "w") as f:
        f.write("\n".join(lines))
    print("\n".join(lines))
