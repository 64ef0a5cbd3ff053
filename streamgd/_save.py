"""Model files: one safetensors file of arrays and JSON.

The file's metadata has format version, class and parameters; the names of features, which may be many,
are JSON in a tensor of bytes, because safetensors limits its header to 100 MB.

Nothing is executed when a file is read: classes are found by name below ``streamgd`` or, for a
user's own pieces, in modules that the caller has imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from ._learner import LinearLearner
from ._piece import Piece

FORMAT = 1
ARRAYS = ("weights", "slots", "charged", "scalars", "losses", "class_counts", "recent_codes", "recent")

Plain = dict[str, Any]


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _class(name: str, base: type) -> Any:
    """Find a class by name among ours and the modules that are already imported."""
    module, _, qualname = name.partition(":")
    if module.split(".")[0] == "streamgd":
        with suppress(ModuleNotFoundError):  # said below
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
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple | list):
        return {"tuple": [_encode(v, what) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(k, what), _encode(v, what)] for k, v in value.items()]}
    if isinstance(value, frozenset):
        return {"frozenset": [_encode(v, what) for v in sorted(value, key=repr)]}
    if isinstance(value, Piece):
        fields = [field.name for field in dataclasses.fields(value) if field.init]  # type: ignore[arg-type]
        return {"piece": _name(type(value)), "fields": {k: _encode(getattr(value, k), what) for k in fields}}
    raise TypeError(
        f"{what} is {value!r} ({type(value).__name__}), which a model file cannot hold; it holds "
        "numbers, str, bytes, tuples, dicts and frozensets of them, and pieces that are dataclasses"
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
    if "dict" in value:
        return {_decode(k): _decode(v) for k, v in value["dict"]}
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
            f"save: {type(model).__name__} is not a streamgd learner; of a pipeline or a wrapper, save the "
            "learner in it, for instance save(pipeline['LogisticRegression'], path) or "
            "save(wrapper.classifier, path); what a wrapper has stored can be pickled"
        )
    state = model.__getstate__()
    signature = model._get_params()  # type: ignore[attr-defined]
    metadata = {
        "streamgd": str(FORMAT),
        "class": _name(type(model)),
        "parameters": json.dumps({k: _encode(v, f"the parameter {k}") for k, v in signature.items()}),
    }
    rest: Plain = {
        "names": [_encode(name, "the feature name") for name in state["_features"]],
        "labels": [_encode(label, "the label") for label in state["_targets"].known],
        "n_invalid": state["n_invalid"],
        "epochs": state["_epochs"],
        "observed": [_encode(v, "the state of a schedule") for v in state["_observed"]],
        "y_name": state["_y_name"] if isinstance(state["_y_name"], str) else None,
        "extra": extra or {},
    }
    arrays = {name: np.ascontiguousarray(state["_" + name]) for name in ARRAYS}
    arrays["description"] = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
    content = to_bytes(arrays, metadata=metadata)
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        # not tempfile, whose files only their owner may read
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
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

    where = os.fspath(path)
    try:
        with safe_open(where, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{where} is not a model file: {error}") from error
    if "streamgd" not in metadata:
        raise ValueError(f"{where} is a safetensors file, but not one of streamgd's")
    if int(metadata["streamgd"]) > FORMAT:
        raise ValueError(
            f"{where} has format {metadata['streamgd']}, this version reads up to {FORMAT}; upgrade streamgd"
        )
    try:
        rest = json.loads(arrays["description"].tobytes())
        parameters = {k: _decode(v) for k, v in json.loads(metadata["parameters"]).items()}
        model = _class(metadata["class"], LinearLearner)(**parameters)
        state = model.__getstate__()
        state.update({"_" + name: arrays[name] for name in ARRAYS})
        state["_features"] = [_decode(name) for name in rest["names"]]
        if rest["labels"]:
            state["_targets"].known = tuple(map(_decode, rest["labels"]))
        state["n_invalid"] = rest["n_invalid"]
        state["_epochs"] = rest["epochs"]
        state["_observed"] = tuple(map(_decode, rest["observed"]))
        state["_y_name"] = rest["y_name"]
        extra = rest["extra"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{where} is not a complete model file: {error!r}") from error
    model.__setstate__(state)
    return (model, extra) if with_extra else model
