"""Model files: one safetensors file of arrays, with parameters and names as JSON in its header.

Nothing is executed when a file is read: classes are found by name below ``streamgd`` or, for a
user's own pieces, in modules that the caller has imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from ._learner import LinearLearner
from ._piece import Piece
from ._targets import Labels

FORMAT = 1

Plain = dict[str, Any]


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _class(name: str, base: type) -> Any:
    """Find a class by name among ours and the modules that are already imported."""
    module, _, qualname = name.partition(":")
    if module.split(".")[0] == "streamgd":
        importlib.import_module(module)
    found: Any = sys.modules.get(module)
    if found is None:
        raise ValueError(
            f"the model uses {qualname} of the module {module}; import that module, then load again"
        )
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"the model uses {name}, which is no {base.__name__} here")
    return found


def _encode(value: Any, what: str) -> Any:
    """Make a parameter, name or label JSON, types kept."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, what) for v in value]}
    if isinstance(value, frozenset):
        return {"frozenset": [_encode(v, what) for v in sorted(value, key=repr)]}
    if isinstance(value, Piece):
        fields = [field.name for field in dataclasses.fields(value) if field.init]  # type: ignore[arg-type]
        return {"piece": _name(type(value)), "fields": {k: _encode(getattr(value, k), what) for k in fields}}
    raise TypeError(
        f"{what} is {value!r} ({type(value).__name__}), which a model file cannot hold; it holds "
        "numbers, str, bytes, tuples and frozensets of them, and pieces that are dataclasses"
    )


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float.fromhex(value["float"])
    if "bytes" in value:
        return bytes.fromhex(value["bytes"])
    if "tuple" in value:
        return tuple(_decode(v) for v in value["tuple"])
    if "frozenset" in value:
        return frozenset(_decode(v) for v in value["frozenset"])
    return _class(value["piece"], Piece)(**{k: _decode(v) for k, v in value["fields"].items()})


def save(model: LinearLearner, path: str | os.PathLike[str], *, extra: Plain | None = None) -> None:
    """Write a model to a file.

    The file is written beside ``path`` and moved there when it is complete, so that a crash leaves the
    old one or the new one.

    Parameters
    ----------
    model
        A streamgd learner. (River's steps of a pipeline are Python objects: save the learner,
        ``pipeline["LogisticRegression"]``, and keep river's by its own means.)
    path
        The file, by convention ``*.safetensors``.
    extra
        Anything JSON can hold, kept beside the model.

    Raises
    ------
    TypeError
        When the model is not a streamgd learner, or a name or parameter cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    if not isinstance(model, LinearLearner):
        raise TypeError(
            f"save: {type(model).__name__} is not a streamgd learner; of a pipeline, save the learner in it, "
            "for instance save(pipeline['LogisticRegression'], path)"
        )
    state = model.__getstate__()
    signature = model._get_params()  # type: ignore[attr-defined]
    targets = state["_targets"]
    header: Plain = {
        "format": FORMAT,
        "class": _name(type(model)),
        "parameters": {k: _encode(v, f"the parameter {k}") for k, v in signature.items()},
        "names": [_encode(name, "the feature name") for name in state["_features"]],
        "labels": [_encode(v, "the label") for v in (targets.negative, targets.positive)]
        if isinstance(targets, Labels)
        else None,
        "n_invalid": state["n_invalid"],
        "epochs": state["_epochs"],
        "y_name": state["_y_name"] if isinstance(state["_y_name"], str) else None,
        "extra": extra or {},
    }
    arrays = {
        name: np.ascontiguousarray(state["_" + name]) for name in ("weights", "slots", "charged", "scalars")
    }
    content = to_bytes(arrays, metadata={"streamgd": json.dumps(header)})
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


@overload
def load(path: str | os.PathLike[str], *, with_extra: Literal[False] = False) -> Any: ...
@overload
def load(path: str | os.PathLike[str], *, with_extra: Literal[True]) -> tuple[Any, Plain]: ...
def load(path: str | os.PathLike[str], *, with_extra: bool = False) -> Any:
    """Read a model from a file that `save` wrote; it goes on learning to the bit where it was.

    Parameters
    ----------
    path
        The file.
    with_extra
        Return ``(model, extra)``.

    Raises
    ------
    ValueError
        When the file is not a model, is newer than this library, or uses a class that is not imported.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = (file.metadata() or {}).get("streamgd")
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a model file: {error}") from error
    if metadata is None:
        raise ValueError(f"{os.fspath(path)} is a safetensors file, but not one of streamgd's")
    header = json.loads(metadata)
    if header["format"] > FORMAT:
        raise ValueError(
            f"{os.fspath(path)} has format {header['format']}, this version reads up to {FORMAT}; "
            "upgrade streamgd"
        )
    cls = _class(header["class"], LinearLearner)
    model = cls(**{k: _decode(v) for k, v in header["parameters"].items()})
    state = model.__getstate__()
    state.update({"_" + name: array for name, array in arrays.items()})
    state["_features"] = [_decode(name) for name in header["names"]]
    if header["labels"] is not None:
        state["_targets"].negative, state["_targets"].positive = map(_decode, header["labels"])
    state["n_invalid"] = header["n_invalid"]
    state["_epochs"] = header["epochs"]
    state["_y_name"] = header["y_name"]
    model.__setstate__(state)
    return (model, header["extra"]) if with_extra else model
