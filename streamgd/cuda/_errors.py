"""Why there is no GPU to compute on, and what to do about it."""

from __future__ import annotations

import importlib.util

LEAST_CAPABILITY = (7, 5)  # Turing: what numba-cuda compiles for


class CudaUnavailable(RuntimeError):
    """There is no CUDA device to compute on; the message says what is missing."""


def check_package() -> None:
    """Raise CudaUnavailable unless numba-cuda is installed (Numba's own numba.cuda is not kept up)."""
    if importlib.util.find_spec("numba_cuda") is None:
        raise CudaUnavailable(
            "device='cuda' needs the package numba-cuda: pip install 'streamgd[cuda]' (for CUDA 13) or "
            "'streamgd[cuda12]' (for CUDA 12); device='cpu' needs nothing"
        )


def is_available() -> bool:
    """Tell whether a CUDA device can be used now (or Numba's CUDA simulator, if it is switched on)."""
    try:
        require()
    except CudaUnavailable:
        return False
    return True


def require() -> None:
    """Raise CudaUnavailable unless there is a device, saying what is missing: package, driver or device."""
    check_package()
    from ._backend import IS_SIMULATED, cuda

    if IS_SIMULATED:
        return
    error = cuda.cuda_error()  # of the driver's start
    if error and "NO_DEVICE" not in error:
        raise CudaUnavailable(
            f"device='cuda' needs NVIDIA's driver, and there is none that works ({_in_one_line(error)}); "
            "device='cpu' needs none"
        )
    try:
        capability = tuple(cuda.get_current_device().compute_capability)
    except Exception as failure:  # the driver's errors have no base of their own
        raise CudaUnavailable(
            f"device='cuda' needs a GPU, and the driver has none to use ({_in_one_line(str(failure))}): "
            "nvidia-smi lists them, CUDA_VISIBLE_DEVICES may hide them; device='cpu' needs none"
        ) from failure
    if capability < LEAST_CAPABILITY:
        raise CudaUnavailable(
            f"this GPU has compute capability {capability[0]}.{capability[1]}, and kernels need 7.5 (Turing) "
            "or later; device='cpu' needs none"
        )


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
