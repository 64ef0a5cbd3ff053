"""Every file in ``examples/`` runs, offline, and prints what it is there to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# Patterns that the output has, in this order.
SHOWS = {
    "gpu": [
        r"65 updates, accuracy 87\.\d%",
        r"66 updates, one of them from a dict",
    ],
    "fleet": [
        r"64 members, losses from 0\.3\d+ to 2\.\d+",
        r"best: \{'optimizer\.lr': 0\.96\d+, 'l2': 0\.0\}",
        r"the same as alone: True",
        r"for all +MAE 1\.1\d\d",
        r"each shop +MAE 0\.1\d\d",
        r"of 500",
    ],
    "other_losses": [
        r"truth 12\.18, 0\.82",
        r"Squared +9\.\d\d +-1\.\d\d",
        r"Poisson +1[12]\.\d\d +0\.8\d",
        r"(79|80)\.\d% of the rides",
        r"PARegressor\(C=1\): MAE: 4\.[89]",
        r"PARegressor\(C=0\.1\): MAE: 4\.[56]",
    ],
    "quickstart": [r"ROCAUC: 95\.\d+%", "1250 samples", "empty_server_form_handler"],
    "arrays": [
        r"Accuracy: (88\.\d\d)%",
        r"LogLoss: 0\.26",
        r"[\d,]{7,} rows/s",
        r"accuracy 0\.88\d\d",
        "2001 samples in 1002 updates, 21 features",
        "False +True",
    ],
    "own_loss": [
        r"alpha 0\.1: .* exceeded by (89|90)\.\d%",
        r"alpha 0\.5: .* exceeded by (49|50)\.\d%",
        r"alpha 0\.9: .* exceeded by (9|10)\.\d%",
        r"Wrong must define gradient\(self, y, p\)",
    ],
    "hashing": [
        r"ROCAUC: 69\.\d+% +15,463 weights",
        r"ROCAUC: 76\.\d+% +15,487 weights",
        r"ROCAUC: 76\.\d+% +4,013 weights",
        r"largest difference: (0\.0|\d\.\d+e-1\d)\n",
        r"\{2906: 1\.0, 2340: 1\.0, 1897: 1\.0, 460: 1\.0\}",
        r"0\.6\d\d, truly 0\.709",
    ],
    "three_modes": [
        r"least squares +\[ 2\.0004 -0\.9927  0\.5002  3\.0063\]",
        r"batch_size 1 +1 x 20,000 \[ 1\.9\d+ -1\.0\d+ +0\.5\d+ +2\.9\d+\] 20,000 updates",
        r"batch_size 100 +1 x +200 .* 200 updates",
        r"batch_size all +30 x +1 \[ 2\.0004 -0\.9927  0\.5002  3\.0063\] 30 updates",
        r"epochs +\d+ x 20 iterations",
        "stopped +early stopping: loss",
        r"\d+ +180000 +9 +2\.51 +0\.78",
    ],
    "calibration": [
        r"plain +0\.08\d\d",
        r"weighted +0\.4\d\d\d +9\d\.\d%",
        r"calibrated +0\.0[89]\d\d +(39|4\d)\.\d%",
        r"slope 0\.\d\d, biases \+1\.\d\d and -1\.\d\d",
        r"calibrated +missed +\d+, false alarms +\d+, cost +1\d,\d+",
        r"20\.0\} +missed +\d+, false alarms +\d+, cost +8,\d+",
    ],
    "smote": [
        r"nothing +G-mean 0\.0",
        r"class weights +G-mean 0\.7",
        r"replay +G-mean 0\.7",
        r"SMOTE +G-mean 0\.7",
        r"\d+ stored, 5000 rows scaled",
        r"learned 950 .* 1900",
    ],
    "endless": [
        "power cut at row 23,456: 2 epochs of 10,000 rows were done",
        "the checkpoint has 20,000 rows",
        "20,000 more, 40,000 in all, stopped: epochs",
        r"drifts near rows \[2[01]\d{3}, 25\d{3}, .*\]",
        "equal to the bit: True",
    ],
    "compare_models": [
        r"linear +20,000 +0\.85\d\d +0\.70\d\d +0\.70\d\d +-0\.7\d",
        r"tree +20,000 .* -0\.9\d",
        r"linear +20,000 +0\.93\d\d .* 0\.2[67]\d",
        r"LogisticRegression +20,000 +0\.85",
        r"20000 +0\.49\d+ +0\.39\d+",
        r"auto +2,000 +0\.93\d\d ± 0\.00\d\d",
        r"2,000 rows: 0\.31\d\d, 0\.31\d\d to 0\.32\d\d",
    ],
    "own_source": [
        r"100,000 records: heat \+\d\.\d\d  noise -\d\.\d\d  power [+-]0\.",
        "58,000 records are left, in the same order: True",
        r"\{'heat': 0\.13, 'noise': -0\.13, 'power': 0\.64\} False 1\.0",
    ],
    "save_and_resume": [
        r"\('ham', 'spam'\): spam",
        r"mail\.safetensors: \d+ bytes, \{'trained on': 'the first thousand'\}",
        "equal to the bit: True",
        "refused: feature 'links' is nan.*unchanged: True",
        "skipped: 1",
    ],
    "schedules": [
        r"constant +0\.05000 +0\.05000",
        r"inverse +0\.05000 +0\.00035",
        r"steps +0\.05000 +0\.00005",  # 0.05 / 2**10
        r"exponential +0\.05000 +0\.00012",  # 0.05 * exp(-6)
        r"cosine +0\.00050 +0\.00000",
        r"own +0\.05000 +0\.00442",  # 0.05 / 2**3.5
    ],
    "no_tuning": [
        r"SGD\(0\.1\) +0\.262\d +\d\.\d+e\+\d\d",  # the best rate for the one diverges on the other
        r"auto +0\.260?\d* +0\.23\d",
        r"predictions, of some 42: \de-1[0-9]",
    ],
    "drift": [
        r"small +(0\.0300 +){5}Accuracy: 90\.\d",
        r"falls +(0\.0\d+ +){5}Accuracy: 85\.\d",
        r"restarts +(0\.0\d+ +){3}(0\.[12]\d+ +){2}Accuracy: 93\.\d",
    ],
}


def test_no_example_is_left_out():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHOWS)


@pytest.mark.parametrize("name", SHOWS)
def test_runs_and_shows(name: str, tmp_path: Path):
    # No proxy and no home: an example that downloads something or leaves files behind fails here.
    environment = os.environ | {"PYTHONWARNINGS": "error", "HOME": str(tmp_path), "RIVER_DATA": str(tmp_path)}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    result = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        env=environment | nowhere,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    at = 0
    for pattern in SHOWS[name]:
        found = re.compile(pattern).search(result.stdout, at)
        assert found, f"{pattern!r} is not in, or not in its place in:\n{result.stdout}"
        at = found.end()
    assert not [path for path in tmp_path.iterdir() if path.name != ".cache"]
