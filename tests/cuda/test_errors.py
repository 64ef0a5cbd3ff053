"""Why there is no GPU to compute on: no driver, no device, one that is too old."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streamgd.cuda import _backend
from streamgd.cuda._errors import CudaUnavailable, is_available, require

needs_numba = pytest.mark.compiles  # numba-cuda itself, neither its simulator nor a device


def test_the_simulator_is_a_device(simulated):
    require()
    assert is_available()


@needs_numba
def test_without_a_driver_it_says_so():
    if _backend.cuda.cuda_error() is None:
        pytest.skip("there is a driver")
    assert not is_available()
    with pytest.raises(
        CudaUnavailable, match="needs NVIDIA's driver, and there is none that works"
    ) as caught:
        require()
    said = str(caught.value)
    assert "CUDA driver library cannot be found" in said
    assert "\n" not in said
    assert "device='cpu'" in said


def pretend(monkeypatch, answer, error=None):
    """Let numba-cuda give this answer when asked for the device, and ``error`` when asked for the driver."""

    def get_current_device():
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(compute_capability=answer)

    monkeypatch.setattr(_backend.cuda, "cuda_error", lambda: error)
    monkeypatch.setattr(_backend.cuda, "get_current_device", get_current_device)


@needs_numba
@pytest.mark.parametrize(("capability", "enough"), [((7, 0), False), ((7, 5), True), ((12, 0), True)])
def test_old_devices_are_refused(monkeypatch, capability, enough):
    pretend(monkeypatch, capability)
    assert is_available() == enough
    if not enough:
        with pytest.raises(CudaUnavailable, match=r"compute capability 7\.0, .*need 7\.5 .*device='cpu'"):
            require()


@needs_numba
@pytest.mark.parametrize("error", [None, "Error at driver init: \nCUDA_ERROR_NO_DEVICE (100)"])
def test_a_driver_without_devices_is_named(monkeypatch, error):
    from numba.cuda.cudadrv.driver import CudaAPIError

    pretend(monkeypatch, CudaAPIError(100, "CUDA_ERROR_NO_DEVICE"), error)
    assert not is_available()
    with pytest.raises(
        CudaUnavailable, match=r"has none to use \(.*NO_DEVICE\).*CUDA_VISIBLE_DEVICES"
    ) as caught:
        require()
    assert "device='cpu'" in str(caught.value)
