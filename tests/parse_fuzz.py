"""Text that tries to crash or fool the parsers, as a program, so that a crash does not end the tests.

Each case is a text of rows, most of them mutated, read through windows of any size. A parser must give the
rows that the plain reader below gives, to the bit, and then, where that one finds a row to be wrong, raise
InputError. Prints JSON: the cases of each parser, how many were refused, and what was wrong.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import gzip
import io
import itertools
import json
import random
import re
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sklearn.utils import murmurhash3_32

from streamgd import stream
from streamgd.stream import _csv_rows, _window
from streamgd.stream._svmlight import SVMLight
from streamgd.stream._vw import VW

Row = tuple[dict[Any, float], Any, float]  # features, target, weight

NUMBERS = """0 1 -1 2.5 -0 +3 .5 5. 1e5 1E-5 -1.5e+3 00012 0.1 1e22 1e23 9007199254740993 1e400 -1e400 1e-400
4.9e-324 2.2250738585072011e-308 1.7976931348623157e308 123456789012345678901234567890 1e0005 12345678 8.5e-1
0.00000000000000000000012345678 1234567890123456789012345.6789e-30 99999999999999999999e-20 87654321.12345678
3.14159265358979323846 0.30000000000000004 nan NaN inf -Infinity 1_000 0x10 1e 1e+ - + . e5 --1 1..2 1,5 １２
1:2""".split()
NAMES = [*"a b c age user x1 x2 item é 名 a^b a*b = 'q a#b 0".split(), "w" * 40]
BYTES = [bytes([k]) for k in range(256)]
SPECIAL = [
    *(b"\n", b"\r", b"\r\n", b"|", b":", b" ", b"\t", b",", b'"', b'""', b"'", b"#", b"\0", b"\xff", b"\xc3"),
    *(b"\xef\xbb\xbf", b"^", b"*", b"-", b"e", b".", b"\x0b", b"\x1c", b"1e999999999", b"9" * 400),
]
LONG = [b"w", b"1", b"\xc3\xa9", b"|", b"x ", b'"', b"\n"]


class Wrong(Exception):
    """The plain reader meets a row that must be refused."""


# -- readers as plain as can be ----------------------------------------------------------------


def number(word: bytes) -> float:
    try:
        return float(word.decode(errors="replace"))
    except ValueError:
        raise Wrong(f"{word!r} is no number") from None


def words(text: bytes) -> list[bytes]:
    return [word for word in re.split(rb"[ \t\r\n]+", text) if word]


def summed(features: list[tuple[bytes, float]], n_features: int | None) -> dict[Any, float]:
    """Return features by name, or by what scikit-learn's hash makes of it."""
    row: dict[Any, float] = {}
    for name, value in features:
        key: Any = name.decode() if n_features is None else name
        if n_features is not None:
            hashed = murmurhash3_32(name, seed=0, positive=False)
            key, value = abs(int(hashed)) % n_features, -value if hashed < 0 else value
        row[key] = row[key] + value if key in row else value
    return row


def lines(data: bytes) -> list[bytes]:
    return data.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def svmlight(data: bytes, options: dict[str, Any]) -> Iterator[Row]:
    for line in lines(data):
        row = words(line.partition(b"#")[0])
        if not row:
            continue
        label, last, features = number(row[0]), -1, []
        for pair in row[1:]:
            index, colon, value = pair.partition(b":")
            if not colon or not re.fullmatch(rb"[0-9]{1,18}", index) or int(index) <= last:
                raise Wrong(f"{pair!r}")
            last = int(index)
            features.append((str(last).encode(), number(value)))
        yield summed(features, options.get("n_features")), label, 1.0


def vw(data: bytes, options: dict[str, Any]) -> Iterator[Row]:
    known: set[bytes] = set()
    n_features = options.get("n_features")
    for line in lines(data):
        if not words(line):
            continue
        head, bar, body = line.partition(b"|")
        if not bar:
            raise Wrong("no bar")
        row = words(head)
        if row and (head[-1:] not in b" \t\r" or row[-1].startswith(b"'")):
            del row[-1]  # a tag
        if len(row) > 3 or (not row and options["labels"]):
            raise Wrong("words before the bar")
        label = number(row[0]) if options["labels"] else None
        weight = number(row[1]) if len(row) > 1 else 1.0
        if not 0.0 <= weight < float("inf") or (len(row) > 2 and number(row[2]) != 0.0):
            raise Wrong("importance or base")
        features: list[tuple[bytes, float]] = []
        spaces: dict[bytes, list[tuple[bytes, float]]] = collections.defaultdict(list)
        for group in body.split(b"|"):
            parts = words(group)
            space, scale = b"", 1.0
            if group and group[:1] not in b" \t\r":
                space, colon, text = parts.pop(0).partition(b":")
                scale = number(text) if colon else 1.0
                if not space:
                    raise Wrong("a scale without a namespace")
            for part in parts:
                name, colon, text = part.partition(b":")
                if not name:
                    raise Wrong("a feature without a name")
                value = (number(text) if colon else 1.0) * scale
                features.append((space + b"^" + name if space else name, value))
                spaces[space].append(features[-1])
        for product in options.get("interactions", ()):
            features += products([part.strip().encode() for part in product.split("*")], spaces)
        if n_features is None:
            try:
                result = summed(features, None)
            except UnicodeDecodeError:
                raise Wrong("not UTF-8") from None
            known |= {name for name, _ in features}
            if len(known) > options["max_categories"]:
                raise Wrong("too many names")
            yield result, label, weight
        else:
            yield summed(features, n_features), label, weight


def products(
    spaces: list[bytes], features: dict[bytes, list[tuple[bytes, float]]]
) -> list[tuple[bytes, float]]:
    """Return the products of a feature of each namespace; of one that stands twice, each pair once."""
    repeated = {space for space in spaces if spaces.count(space) > 1}
    given = [sorted(features[s], key=lambda f: f[0]) if s in repeated else features[s] for s in spaces]
    earlier = [max((e for e in range(p) if spaces[e] == spaces[p]), default=None) for p in range(len(spaces))]
    found = []
    for picked in itertools.product(*(range(len(some)) for some in given)):
        if all(e is None or picked[e] <= k for e, k in zip(earlier, picked, strict=True)):
            chosen = [given[p][k] for p, k in enumerate(picked)]
            value = 1.0
            for _, factor in chosen:
                value *= factor
            found.append((b"*".join(name for name, _ in chosen), value))
    return found


def cells(data: bytes) -> Iterator[list[bytes]]:
    """Yield the records of CSV."""
    at, end = 0, len(data)

    def line_ends(k: int) -> int:
        """Return how many bytes end a line at ``k``, as the end of the text does, too."""
        if data[k : k + 1] in (b"\n", b""):
            return 1
        return 2 if data[k : k + 1] == b"\r" and data[k + 1 : k + 2] in (b"\n", b"") else 0

    while True:
        while at < end and line_ends(at):
            at += line_ends(at)
        if at >= end:
            return
        record = []
        while True:
            if data[at : at + 1] == b'"':
                match = re.compile(rb'"((?:[^"]|"")*)"').match(data, at)
                if match is None:
                    raise Wrong("an open quote")
                record.append(match[1].replace(b'""', b'"'))
                at = match.end()
                if data[at : at + 1] != b"," and not line_ends(at):
                    raise Wrong("text behind a quote")
            else:
                stop = re.compile(rb"[,\n]|\Z").search(data, at).start()
                cell = data[at:stop]
                if data[stop : stop + 1] != b",":
                    cell = cell.removesuffix(b"\r")
                record.append(cell)
                at += len(cell)
            if data[at : at + 1] != b",":
                at += line_ends(at)
                break
            at += 1
        yield record


COLUMNS = {"n": "number", "c": "category", "b": "boolean", "m": "number", "y": "number"}
MARKERS = {"na", "n/a", "nan", "null", "none", "?"}


def csv(data: bytes, options: dict[str, Any]) -> Iterator[Row]:
    for record in cells(data):
        if len(record) != len(COLUMNS):
            raise Wrong("fields")
        row: dict[str, float] = {}
        target = None
        try:
            texts = [cell.decode() for cell in record]
        except UnicodeDecodeError:
            raise Wrong("not UTF-8") from None
        for (name, kind), text in zip(COLUMNS.items(), texts, strict=True):
            value: float | None = None
            if kind == "category":
                if text:
                    row[f"{name}={text}"] = 1.0
                    continue
            elif kind == "boolean":
                if text:
                    if text.strip().lower() not in ("true", "false"):
                        raise Wrong("no boolean")
                    value = float(text.strip().lower() == "true")
            elif text and text.strip().lower() not in MARKERS and text.strip(" "):
                value = number(text.encode())
                value = None if value != value else value
            if value is None:
                if options["missing"] == "error" or name == "y":
                    raise Wrong("missing")
                value = 0.0
            if name == "y":
                target = value
            elif kind != "category":
                row[name] = value
        yield row, target, 1.0


# -- texts -------------------------------------------------------------------------------------


def a_number(rng: random.Random) -> str:
    if rng.random() < 0.08:
        return rng.choice(NUMBERS)
    return rng.choice(
        [lambda: f"{rng.gauss(0, 1):.6g}", lambda: repr(rng.gauss(0, 1)), lambda: str(rng.randint(-99, 99))]
    )()


def blank(rng: random.Random) -> str:
    return " " if rng.random() < 0.9 else rng.choice(["  ", "\t", " \t ", "\r "])


def end_of_line(rng: random.Random) -> str:
    return "\n" if rng.random() < 0.8 else rng.choice(["\r\n", "\n\n", "\n \n", "\r\n\r\n"])


def svmlight_text(rng: random.Random) -> bytes:
    text = ""
    for _ in range(rng.choice((1, 2, 5, 12))):
        indices = sorted(rng.sample(range(rng.choice((8, 40, 10**6, 10**18))), rng.choice((0, 1, 3, 7))))
        pairs = [f"{'0' * (rng.random() < 0.05)}{index}:{a_number(rng)}" for index in indices]
        text += blank(rng).join([a_number(rng), *pairs])
        text += rng.choice(["", "", "", " # note", "#", " "]) + end_of_line(rng)
    return text.encode()


def vw_text(rng: random.Random) -> bytes:
    text = ""
    for _ in range(rng.choice((1, 2, 5, 12))):
        head = [rng.choice(["1", "-1", a_number(rng)])]
        if rng.random() < 0.2:
            head.append(rng.choice(["2", "0.5", "0", a_number(rng)]))
            head += ["0"] * (rng.random() < 0.1)
        tag = rng.choice(["", "", "", "'tag ", "'tag", "tag", " "]) if rng.random() < 0.3 else ""
        text += blank(rng).join(head) + blank(rng) + tag
        for _ in range(rng.choice((1, 1, 2, 3))):
            text += "|" + ("" if rng.random() < 0.3 else rng.choice(NAMES[:6]))
            if rng.random() < 0.1:
                text += f":{a_number(rng)}"
            for _ in range(rng.choice((0, 1, 3, 6))):
                text += blank(rng) + rng.choice(NAMES) + (f":{a_number(rng)}" if rng.random() < 0.6 else "")
            text += blank(rng) if rng.random() < 0.8 else ""
        text += end_of_line(rng)
    return text.encode()


def csv_text(rng: random.Random) -> bytes:
    text = ""
    for _ in range(rng.choice((1, 2, 5, 12))):
        row = [
            a_number(rng),
            rng.choice(NAMES),
            rng.choice(["true", "false", "True", " FALSE "]),
            a_number(rng),
            "1",
        ]
        for k in range(5):
            if rng.random() < 0.1:
                row[k] = f'"{row[k]}"'
            elif k in (1, 2, 3) and rng.random() < 0.04:
                row[k] = rng.choice(["", '""', "NA", " ", "?", " nan "])
        if rng.random() < 0.1:
            row[1] = rng.choice(['"a,b"', '"a\nb"', '"a""b"', '"a\r\nb"', "a'b", 'a"b', '""""'])
        text += ",".join(row) + rng.choice(["\n", "\n", "\n", "\r\n", "\n\n", "\r\n\r\n"])
    return text.encode()


def mutated(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        what = rng.randrange(9)
        if what == 0:
            data = data[:at]
        elif what == 1:
            data = data[:at] + data[min(to, at + 9) :]
        elif what == 2:
            data = data[:to] + data[at:]
        elif what == 3:
            data = data[:at] + rng.choice(BYTES) + data[at + 1 :]
        elif what < 7:
            data = data[:at] + rng.choice(SPECIAL) + data[at:]
        elif what == 7:
            data = data.rstrip(b"\n") if rng.random() < 0.5 else data.replace(b"\n", b"\r\n")
        elif rng.random() < 0.1:
            data = data[:at] + rng.choice(LONG) * rng.randint(100, 5000) + data[at:]
    return data


# -- cases -------------------------------------------------------------------------------------


class Parser(NamedTuple):
    text: Callable[[random.Random], bytes]
    plain: Callable[[bytes, dict[str, Any]], Iterator[Row]]
    open: Callable[..., Any]
    options: Callable[[random.Random], dict[str, Any]]


def open_csv(file: Any, batch_rows: int, **options: Any) -> Any:
    return stream.CSV(file, "y", batch_rows, kinds=COLUMNS, **options)


def vw_options(rng: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {"labels": rng.random() < 0.9, "max_categories": 1_000_000}
    if rng.random() < 0.3:
        options["interactions"] = rng.choice(
            [("a*b",), ("a*a",), (" *a", "b*c"), ("a*b*a",), ("user*age", "a*a*a")]
        )
    if rng.random() < 0.3:
        options["n_features"] = rng.choice((2, 7, 64, 2**20))
    elif rng.random() < 0.1:
        options["max_categories"] = rng.choice((1, 3, 10))
    return options


PARSERS = {
    "csv": Parser(
        csv_text,
        csv,
        open_csv,
        lambda rng: {"missing": rng.choice(("error", "zero")), "threads": rng.choice((1, 1, 2, 3))},
    ),
    "svmlight": Parser(
        svmlight_text, svmlight, SVMLight, lambda rng: {"n_features": rng.choice((None, None, 2, 64))}
    ),
    "vw": Parser(vw_text, vw, VW, vw_options),
}
HEADER = ",".join(COLUMNS).encode() + b"\n"


def bits(row: Row) -> Any:
    features, target, weight = row
    return (
        [(name, exact(value)) for name, value in sorted(features.items(), key=repr)],
        exact(target),
        exact(weight),
    )


def exact(value: Any) -> Any:
    """Return a number's bits; all NaN are one."""
    return value if value is None else "nan" if value != value else struct.pack("d", value)


def rows_of(batch: Any) -> Iterator[Row]:
    X, names = batch.X, batch.columns
    for i in range(len(batch)):
        if isinstance(X, stream.SparseRows):
            begin, end = X.indptr[i : i + 2].tolist()
            columns = X.indices[begin:end].tolist()
            if len(set(columns)) != len(columns) or X.n_columns != len(names):
                raise AssertionError(f"columns {columns} of {X.n_columns}, {len(names)} names")
            x = {names[j]: v for j, v in zip(columns, X.data[begin:end].tolist(), strict=True)}
        else:
            x = dict(zip(names, X[i].tolist(), strict=True))
        yield x, None if batch.y is None else float(batch.y[i]), 1.0 if batch.w is None else float(batch.w[i])


class Fuzz:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    def source(self, parser: Parser, data: bytes, rng: random.Random, **options: Any) -> Any:
        """Open the text as a file object, or now and then as a file."""
        if rng.random() < 0.97:
            return parser.open(io.BytesIO(data), rng.choice((1, 2, 3, 100)), **options)
        path = self.folder / rng.choice(("a.txt", "a.gz"))
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return parser.open(path, rng.choice((1, 2, 3, 100)), **options)

    def run(self, name: str, seed: int) -> None:
        rng = random.Random(f"{name} {seed}")
        parser = PARSERS[name]
        data, options = mutated(parser.text(rng), rng), parser.options(rng)
        _window.BLOCK = rng.choice((1, 2, 7, 61, 200, 1 << 20))
        _csv_rows._PART = rng.choice((2, 20, 100))  # what a thread of its own reads
        wanted: list[Row] = []
        wrong = None
        try:
            for row in parser.plain(data, options):
                wanted.append(row)  # noqa: PERF402  those before the wrong one are wanted
        except Wrong as found:
            wrong = found
        got: list[Row] = []
        refused = None
        opened = False
        try:
            source = self.source(parser, HEADER + data if name == "csv" else data, rng, **options)
            opened = True
            for batch in source:
                got += rows_of(batch)
        except stream.InputError as error:
            refused = error
        except Exception as error:
            self.fail(name, seed, f"{error!r} {options}", data)
            return
        self.counts[name] += 1
        self.counts[f"{name}, refused"] += refused is not None
        self.counts[f"{name}, rows"] += len(got)
        if not wanted and not opened:
            return  # nothing to read is an error, too
        if (refused is None) != (wrong is None):
            self.fail(name, seed, f"refused: {refused}; must be: {wrong}; {options}", data)
        elif opened and list(map(bits, got)) != list(map(bits, wanted)):
            self.fail(name, seed, f"{got} for {wanted}; {options}", data)

    def fail(self, name: str, seed: int, what: str, data: bytes) -> None:
        self.failures.append(f"{name} {seed}: {what[:600]}; text {data[:300]!r}")


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--cases", type=int, default=3000, help="of each parser")
    cli.add_argument("--parser", choices=PARSERS, help="this one only")
    cli.add_argument("--seed", type=int, default=0)
    given = cli.parse_args()
    faulthandler.enable()
    start = time.perf_counter()
    fuzz = Fuzz()
    for name in [given.parser] if given.parser else PARSERS:
        for k in range(given.cases):
            if k % 100 == 0:
                faulthandler.dump_traceback_later(120, exit=True)  # a parser that never comes back
            fuzz.run(name, given.seed + k)
            if len(fuzz.failures) >= 10:
                break
    print(json.dumps({
        "counts": fuzz.counts, "failures": fuzz.failures, "seconds": round(time.perf_counter() - start, 1),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
