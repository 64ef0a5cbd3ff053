"""How far each piece is from what others wrote: the table of parity is made of this."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
FORMULA = "its formula in plain loops"

# (piece, oracle) -> (the oracle's version, largest difference)
differences: dict[tuple[str, str], tuple[str, float]] = {}

# Why a piece is held against nothing but its formula, written down a second time.
ALONE = {
    "class_weights.EffectiveNumber": "no package has it for a stream",
    "class_weights.TargetDistribution": "no package has it",
    "optimizers.Auto": "a method of this library",
    "optimizers.Bank": "a method of this library",
    "optimizers.ScInOL1": "no package has it",
    "optimizers.ScInOL2": "no package has it",
}

HEAD = """# Parity

What the tests found when they compared each piece with what others wrote: the largest difference between
numbers (rates, losses, derivatives, predictions, weights), relative to those that are larger than 1. Most are
held against their own formulas, written down a second time in plain Python, as well. Where that is the only
line, the reason stands in place of a version. Vowpal Wabbit computes in float32.

`pytest --write-parity -m ''` writes this page.
"""


@cache
def pieces() -> dict[str, list[str]]:
    """The public pieces and learners by family."""
    from streamgd import linear_model, optim
    from streamgd._piece import Piece

    def of(home: object) -> list[str]:
        public = [getattr(home, name) for name in home.__all__]  # type: ignore[attr-defined]
        return [cls.__name__ for cls in public if isinstance(cls, type) and issubclass(cls, Piece)]

    families = {"losses": optim.losses, "optimizers": optim, "schedulers": optim.schedulers}
    families |= {"penalties": optim.penalties, "initializers": optim.initializers}
    families["class_weights"] = optim.class_weights
    named = {family: of(home) for family, home in families.items()}
    named["losses"] = sorted({*named["losses"], "CrossEntropy"} & set(dir(optim.losses)))
    named["class_weights"].remove("ClassWeight")  # the family itself
    return named | {"learners": list(linear_model.__all__)}


def _qualified(piece: str) -> str:
    """``family.Name``, and what follows it; a bare name is looked for in all families."""
    family, _, rest = piece.partition(".")
    if family in pieces() and rest.split(",")[0].split(".")[0] in pieces()[family]:
        return piece
    bare = piece.split(",")[0]
    homes = [family for family, names in pieces().items() if bare in names]
    if len(homes) != 1:
        raise KeyError(
            f"{piece!r} is the name of {len(homes)} pieces ({homes}); say family.Name, with one of "
            f"{list(pieces())}"
        )
    return f"{homes[0]}.{piece}"


def heading(family: str) -> str:
    """What a family's section is called."""
    return family.replace("_", " ").capitalize()


def record(piece: str, oracle: str, version: str, difference: float) -> None:
    """Keep the largest difference of a piece from an oracle.

    ``piece`` is the name of a class, after that of its family where two have the name
    (``"schedulers.Constant"``); what it was in, or a method, may follow (``"losses.Log.update"``,
    ``"SoftmaxRegression, SGD"``).
    """
    key = _qualified(piece), oracle
    _, largest = differences.get(key, ("", 0.0))
    differences[key] = (str(version), max(largest, float(difference)))


def _line(piece: str, oracle: str, version: str, difference: float) -> str:
    name = piece.partition(".")[2]
    version = ALONE.get(piece, "") if oracle == FORMULA else version
    return f"| `{name}` | {oracle} | {version} | {f'{difference:.1g}' if difference else '0'} |"


def page() -> str:
    """The table of parity, of all that was recorded.

    Raises
    ------
    LookupError
        Where a piece was not compared, or only with its formula and without a reason in `ALONE`.
    """
    text = HEAD
    for family, names in pieces().items():
        text += f"\n## {heading(family)}\n\n| | oracle | version | largest difference |\n|---|---|---|---:|\n"
        for name in sorted(names, key=str.lower):
            compared = {
                (piece, oracle): kept
                for (piece, oracle), kept in differences.items()
                if piece.replace(",", ".").split(".")[:2] == [family, name]
            }
            others = {oracle for _, oracle in compared} - {FORMULA}
            if not compared or not (others or f"{family}.{name}" in ALONE):
                raise LookupError(
                    f"{family}.{name} is compared with {'no oracle' if compared else 'nothing'}"
                )
            ordered = sorted(
                compared.items(), key=lambda item: (item[0][0], item[0][1] == FORMULA, item[0][1])
            )
            text += "".join(f"{_line(*key, *kept)}\n" for key, kept in ordered)
    return text
