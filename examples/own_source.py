"""A source of your own: a class with one method, for rows in a form that nobody else has."""

import tempfile
from pathlib import Path

import numpy as np

from streamgd import linear_model, stream

RECORD = np.dtype([("readings", np.float32, 3), ("alarm", np.bool_)])  # what a sensor writes: 13 bytes
NAMES = ("heat", "noise", "power")


class SensorLog(stream.Source):
    """Records of a sensor, one behind the other."""

    target = "alarm"
    reads = True  # getting a batch takes work that a thread may do ahead

    def __init__(self, path: Path) -> None:
        self.path = path

    def batches(self, start=None):
        row = 0 if start is None else start["row"]
        with self.path.open("rb") as file:
            file.seek(row * RECORD.itemsize)
            while len(records := np.fromfile(file, RECORD, self.batch_rows)):
                X = np.ascontiguousarray(records["readings"])
                n = len(records)
                yield stream.Batch(X, records["alarm"], NAMES, row, {"row": row + n})
                row += n


rng = np.random.default_rng(0)
log = np.empty(100_000, RECORD)
log["readings"] = rng.normal(size=(len(log), 3))
log["alarm"] = log["readings"] @ [2.0, -1.0, 0.0] + 0.5 * rng.normal(size=len(log)) > 1.0

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "sensor.log"
    log.tofile(path)
    source = SensorLog(path)

    # All that takes a source takes this one: here batches of another size, in random order, read ahead.
    batches = stream.Rebatched(stream.Shuffled(source, rows=20_000, seed=1), 1_000)
    model = linear_model.LogisticRegression()
    position = None
    for batch in stream.read_ahead(batches):
        model.learn_rows(batch.X, batch.y, columns=batch.columns)
        if batch.position["row"] == 42_000:
            position = batch.position  # plain numbers: store them as JSON, beside the model
    weights = "  ".join(f"{name} {weight:+.2f}" for name, weight in model.weights.items())
    print(f"{model.n_samples:,} records: {weights}")

    # A position continues with the same rows, whatever stands between it and the file.
    rest = list(batches.batches(position))
    again = list(batches)[42:]
    same = all(np.array_equal(a.X, b.X) for a, b in zip(rest, again, strict=True))
    print(f"{sum(map(len, rest)):,} records are left, in the same order: {same}")

# Without a class: any iterator of (x, y) is a source, too.
rows = ((dict(zip(NAMES, r["readings"].tolist(), strict=True)), bool(r["alarm"])) for r in log[:2])
for x, y, w in stream.source(rows).samples():
    print({name: round(value, 2) for name, value in x.items()}, y, w)
