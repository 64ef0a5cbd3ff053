"""The simulator: each operation does what CUDA's documentation says, and what has no meaning raises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamgd._single import single
from streamgd.cuda._backend import FULL_WARP, cuda, float32, kernel

LANES = np.arange(32)


@pytest.fixture(autouse=True)
def watched(simulated, monkeypatch):
    """Look for races in every launch, not only in the first ones of a kernel."""
    import simulator

    monkeypatch.setattr(simulator, "WATCHED", math.inf)


def run(body, *args, blocks=1, threads=32):
    kernel(body)[blocks, threads](*args)
    return args[0]


def zeros(n=32, dtype=np.float32):
    return np.zeros(n, dtype)


# -- warps --------------------------------------------------------------------------------------


def test_shuffles_take_values_from_other_lanes():
    def body(out):
        lane = cuda.laneid
        out[0, lane] = cuda.shfl_sync(FULL_WARP, lane, lane + 5)
        out[1, lane] = cuda.shfl_xor_sync(FULL_WARP, lane, 9)
        out[2, lane] = cuda.shfl_up_sync(FULL_WARP, lane, 3)
        out[3, lane] = cuda.shfl_down_sync(FULL_WARP, lane, 3)

    out = run(body, np.zeros((4, 32)))
    assert (out[0] == (LANES + 5) % 32).all()  # modulo the warp's width
    assert (out[1] == (LANES ^ 9)).all()
    assert (out[2] == np.where(LANES < 3, LANES, LANES - 3)).all()  # past the edge: the own value
    assert (out[3] == np.where(LANES > 28, LANES, LANES + 3)).all()


def test_a_butterfly_adds_up_a_warp_and_keeps_the_type():
    def total(x):
        for k in range(5):
            x += cuda.shfl_xor_sync(FULL_WARP, x, 1 << k)
        return x

    def body(out, values):
        i = cuda.grid(1)
        out[i] = total(values[i])

    values = np.random.default_rng(0).normal(size=128).astype(np.float32)
    out = run(body, zeros(128), values, blocks=2, threads=64)
    assert out == pytest.approx(values.reshape(4, 32).sum(1).repeat(32), rel=1e-5)


def test_votes():
    def body(out, votes):
        lane = cuda.laneid
        out[0, lane] = cuda.ballot_sync(FULL_WARP, votes[lane])
        out[1, lane] = cuda.all_sync(FULL_WARP, votes[lane])
        out[2, lane] = cuda.any_sync(FULL_WARP, votes[lane])
        out[3, lane] = cuda.eq_sync(FULL_WARP, votes[lane])
        out[4, lane] = cuda.popc(cuda.ballot_sync(FULL_WARP, votes[lane]))

    for votes in (LANES % 3 == 1, LANES >= 0, LANES < 0, LANES == 31):
        out = run(body, np.zeros((5, 32), np.int64), votes)
        mask = np.uint32(sum(1 << int(k) for k in LANES[votes])).astype(np.int32)  # the type is int32
        assert (out.T == [mask, votes.all(), votes.any(), votes.all() or not votes.any(), votes.sum()]).all()


def test_matching_lanes_find_each_other():
    def body(out, keys):
        lane = cuda.laneid
        out[0, lane] = cuda.match_any_sync(FULL_WARP, keys[lane])
        mask, agree = cuda.match_all_sync(FULL_WARP, keys[lane])
        out[1, lane], out[2, lane] = mask, agree

    out = run(body, np.zeros((3, 32), np.int64), LANES % 2)
    assert (out[0] == np.where(LANES % 2, np.uint32(0xAAAAAAAA).astype(np.int32), 0x55555555)).all()
    assert not out[1:].any()
    out = run(body, np.zeros((3, 32), np.int64), zeros())
    assert (out == [[-1], [-1], [1]]).all()


def test_lanes_of_a_mask_meet_without_the_others():
    def body(out):
        lane = cuda.laneid
        if lane < 8:
            out[lane] = cuda.shfl_xor_sync(0xFF, lane, 1)
        elif lane < 12:
            out[lane] = cuda.shfl_xor_sync(0xF00, lane, 2)

    out = run(body, zeros())
    assert (out[:12] == [1, 0, 3, 2, 5, 4, 7, 6, 10, 11, 8, 9]).all()


def test_a_lane_that_takes_no_part_gives_nan():
    def body(out):
        if cuda.laneid < 4:
            out[cuda.laneid] = cuda.shfl_xor_sync(0xF, float32(1.0), 4)

    assert np.isnan(run(body, zeros())[:4]).all()
    assert np.isnan(run(body, zeros(), threads=4)[:4]).all()  # nor does one that is not there


def test_shuffles_refuse_types_that_do_not_compile():
    def body(out):
        out[0] = cuda.shfl_xor_sync(FULL_WARP, np.uint32(1), 1)

    with pytest.raises(TypeError, match="not uint32"):
        run(body, zeros())


# -- threads that do not meet -------------------------------------------------------------------


def undefined(body, match, *args, **shape):
    from simulator import UndefinedError

    with pytest.raises(UndefinedError, match=match):
        run(body, *(args or (zeros(),)), **shape)


def test_a_divergent_lane_raises():
    def body(out):
        if cuda.laneid != 7:
            out[cuda.laneid] = cuda.shfl_xor_sync(FULL_WARP, float32(1.0), 1)
        else:
            cuda.syncwarp()

    undefined(
        body, r"threads 7: waits in syncwarp.*threads 0.*shfl_xor_sync|threads 0.*shfl_xor.*threads 7: "
    )


def test_lanes_with_different_masks_do_not_meet():
    def body(out):
        cuda.syncwarp(FULL_WARP if cuda.laneid < 16 else 0xFFFF0001)

    undefined(body, "wait for each other")


def test_a_lane_outside_of_its_mask_raises():
    def body(out):
        cuda.syncwarp(0xFFFF)

    undefined(body, "takes part in what is for the lanes of mask 0xffff")


def test_a_barrier_that_some_threads_do_not_reach_raises():
    def returns_early(out):
        if cuda.threadIdx.x > 40:
            return
        cuda.syncthreads()

    def two_barriers(out):
        if cuda.threadIdx.x < 32:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    undefined(returns_early, "threads 41, 42.*: has returned", threads=64)
    undefined(two_barriers, "wait for each other", threads=64)


def test_lanes_that_have_returned_are_not_waited_for():
    def body(out):
        if cuda.laneid > 15:
            return
        out[cuda.laneid] = cuda.shfl_xor_sync(FULL_WARP, float32(cuda.laneid), 1)

    assert (run(body, zeros())[:16] == (LANES ^ 1)[:16]).all()


def test_errors_say_which_thread():
    def body(out):
        out[cuda.grid(1)] = 1.0

    with pytest.raises(IndexError) as caught:
        run(body, zeros(40), blocks=2)
    assert "of block (1, 0, 0)" in caught.value.__notes__[0]


# -- barriers and blocks ------------------------------------------------------------------------


def test_barriers_count_votes():
    def body(out, votes):
        i = cuda.threadIdx.x
        out[0, i] = cuda.syncthreads_count(votes[i])
        out[1, i] = cuda.syncthreads_and(votes[i])
        out[2, i] = cuda.syncthreads_or(votes[i])

    votes = np.arange(64) % 5 == 0
    out = run(body, np.zeros((3, 64)), votes, threads=64)
    assert (out.T == [votes.sum(), 0, 1]).all()


def test_threads_of_three_dimensions_are_numbered_with_x_fastest():
    def body(out):
        x, y, z = cuda.grid(3)
        out[x, y, z] = cuda.laneid + 100 * cuda.blockIdx.y

    out = np.zeros((4, 4, 3))
    run(body, out, blocks=(1, 2), threads=(4, 2, 3))
    x, y, z = np.indices(out.shape)
    assert (out == x + 4 * (y % 2) + 8 * z + 100 * (y // 2)).all()


@pytest.mark.parametrize("barriers", [(), (1,), (2,), (1, 2)])
def test_a_missing_barrier_shows(barriers):
    """Before others read what was written, and before what others read is written anew."""

    def body(out, first, second):
        i = cuda.threadIdx.x
        shared = cuda.shared.array((2, 32), float32)
        row = shared[i // 32]
        for k in range(2):
            row[i % 32] = i + 100.0 * k
            if first:
                cuda.syncthreads()
            out[k, i] = shared[1 - i // 32, i % 32]
            if second:
                cuda.syncthreads()

    out, flags = np.zeros((2, 64)), (1 in barriers, 2 in barriers)
    if barriers == (1, 2):
        run(body, out, *flags, threads=64)
        assert (out == np.add([[0.0], [100.0]], np.roll(np.arange(64), 32))).all()
    else:
        undefined(body, "no barrier between", out, *flags, threads=64)


def test_a_warp_needs_syncwarp_alone():
    def body(out, how):
        i = cuda.threadIdx.x
        shared = cuda.shared.array(64, float32)
        shared[i] = i
        if how == 0:
            cuda.syncwarp()
        elif how == 1:
            cuda.shfl_xor_sync(FULL_WARP, i, 1)  # orders no memory
        out[i] = shared[i ^ (31 if how < 2 else 32)]

    assert (run(body, zeros(64), 0, threads=64) == np.arange(64) ^ 31).all()
    undefined(body, "no barrier between", zeros(64), 1, threads=64)
    undefined(body, "no barrier between", zeros(64), 2, threads=64)


def test_threads_may_write_the_same_and_count_together():
    def body(out, barrier):
        shared, count = cuda.shared.array(1, float32), cuda.shared.array(1, np.int32)
        shared[0] = 3.0
        if cuda.threadIdx.x == 0:
            count[0] = 0
        cuda.syncthreads()
        cuda.atomic.add(count, 0, 1)
        if barrier:
            cuda.syncthreads()
        out[cuda.threadIdx.x] = shared[0] + count[0]

    assert (run(body, zeros(64), True, threads=64) == 67.0).all()
    undefined(body, "no barrier between", zeros(64), False, threads=64)


def test_a_grid_meets_as_a_whole():
    def body(out, parts):
        i = cuda.blockIdx.x
        parts[i] = i + 1.0
        cuda.cg.this_grid().sync()
        for k in range(cuda.gridDim.x):
            out[i] += parts[k]

    def some(out):
        if cuda.blockIdx.x == 0:
            cuda.cg.this_grid().sync()

    assert (run(body, zeros(7), np.full(7, np.nan, np.float32), blocks=7, threads=1) == 28.0).all()
    undefined(some, "1 of 3 blocks", blocks=3)


def test_the_last_block_to_finish_sees_all_others():
    def body(out, parts, ticket):
        cuda.threadfence()
        parts[cuda.blockIdx.x] = 1.0
        if cuda.atomic.inc(ticket, 0, cuda.gridDim.x - 1) == cuda.gridDim.x - 1:
            for k in range(cuda.gridDim.x):
                out[0] += parts[k]

    ticket = np.zeros(1, np.uint32)
    assert run(body, zeros(1), np.full(9, np.nan, np.float32), ticket, blocks=9, threads=1)[0] == 9.0
    assert ticket[0] == 0  # it wraps round


# -- memory -------------------------------------------------------------------------------------


def test_unwritten_memory_is_nan_in_each_block():
    def body(out, n):
        i, b = cuda.threadIdx.x, cuda.blockIdx.x
        shared, other = cuda.shared.array(4, float32, alignment=16), cuda.shared.array(4, float32)
        mine = cuda.local.array(2, float32)
        whole = cuda.local.array(1, np.int64)
        out[b, i, 0], out[b, i, 1], out[b, i, 2], n[i] = shared[i], other[i], mine[1], whole[0]
        shared[i] = i
        other[i] = i + 10.0

    out, n = np.zeros((3, 4, 3)), np.zeros(4, np.int64)
    run(body, out, n, blocks=3, threads=4)
    assert np.isnan(out).all()
    assert (n > 2**60).all()
    assert np.isnan(cuda.device_array(3, np.float32).copy_to_host()).all()


def test_shared_arrays_are_those_of_their_place_in_the_code():
    def make(value):
        def device(i):
            shared = cuda.shared.array(4, float32)
            if i == 0:
                shared[0] = value
            return shared

        return device

    one, two = make(1.0), make(2.0)

    def body(out):
        i = cuda.threadIdx.x
        a, b = one(i), two(i)
        cuda.syncthreads()
        out[i] = 10.0 * a[0] + b[0]

    assert (run(body, zeros(4), threads=4) == 12.0).all()


def test_shared_memory_ends_at_48_kilobytes():
    def body(out):
        cuda.shared.array(12 * 1024, float32)
        if out[0] > 0.0:
            cuda.shared.array(1, float32)

    run(body, zeros())
    undefined(body, "49152 bytes of shared memory", np.ones(1, np.float32))


def test_dynamic_shared_memory_is_one_for_all_types():
    def body(out):
        as_bytes, as_floats = cuda.shared.array(0, np.uint8), cuda.shared.array(0, float32)
        as_floats[cuda.threadIdx.x] = 0.0
        cuda.syncthreads()
        out[cuda.threadIdx.x] = as_bytes[4 * cuda.threadIdx.x] + len(as_floats)

    out = zeros(4)
    kernel(body)[1, 4, 0, 18](out)
    assert (out == 4.0).all()


def test_cache_hints_are_loads_and_stores():
    def body(out, values):
        i = cuda.laneid
        cuda.stcs(
            out, i, cuda.ldca(values, i) + cuda.ldcg(values, i) + cuda.ldcs(values, i) + cuda.ldcv(values, i)
        )

    assert (run(body, zeros(), LANES.astype(np.float32)) == 4.0 * LANES).all()


# -- atomics and bits ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_atomics_of_integers(dtype):
    def body(out, values):
        v = values[cuda.grid(1)]
        cuda.atomic.add(out, 0, v)
        cuda.atomic.max(out, 1, v)
        cuda.atomic.min(out, 2, v)
        cuda.atomic.inc(out, 3, 49)
        cuda.atomic.or_(out, 4, v)

    values = np.random.default_rng(1).permutation(128).astype(dtype) + dtype(1000)
    out = np.zeros(5, dtype)
    out[2] = np.iinfo(dtype).max
    run(body, out, values, blocks=4)
    assert out.tolist() == [values.sum(), 1127, 1000, 128 % 50, np.bitwise_or.reduce(values)]


def test_atomics_return_what_was_there():
    def body(out, slots):
        out[cuda.atomic.add(slots, 0, 1)] += 1.0
        if cuda.atomic.cas(slots, 1, 0, 5) == 0:
            out[32] += 1.0

    out = run(body, zeros(33), np.zeros(2, np.int64))
    assert (out == 1.0).all()


def test_bits_are_counted_in_the_width_of_the_type():
    def body(out, words):
        for k in range(3):
            w = words[k]
            out[k, 0], out[k, 1], out[k, 2] = cuda.popc(w), cuda.clz(w), cuda.ffs(w)

    words = [-1, 0, 40]
    for dtype in (np.int32, np.int64):
        width = np.dtype(dtype).itemsize * 8
        out = run(body, np.zeros((3, 3)), np.array(words, dtype), threads=1)
        assert out.tolist() == [[width, 0, 1], [0, width, 0], [2, width - 6, 4]]


# -- functions and types ------------------------------------------------------------------------

GLOBAL = 0.1


def lane():
    return cuda.laneid


def helper(x):
    return math.exp(x) * GLOBAL + lane()


def test_all_functions_that_a_kernel_reaches_find_the_grid():
    inner = single(helper)

    def body(out):
        out[cuda.laneid] = inner(out[cuda.laneid])

    assert run(body, zeros()) == pytest.approx(0.1 + LANES, rel=1e-6)
    assert cuda.laneid is not None if hasattr(cuda, "laneid") else True  # nothing was changed for good


def test_arithmetic_is_a_gpus():
    def body(out, zero):
        big = zero + float32(1000.0)
        out[0], out[1], out[2] = math.exp(big), math.log(zero), math.sqrt(zero - float32(1.0))
        nan = zero / zero
        out[3], out[4], out[5] = max(nan, big), max(big, nan), min(big, nan)
        out[6] = math.exp(float32(1.0)) - float32(math.e)
        out[7] = math.floor(float32(2.5)) + math.erf(zero)

    with np.errstate(all="raise"):  # of the caller: kernels know of none
        out = run(body, zeros(8), np.float32(0.0), threads=1)
    assert out[:2].tolist() == [math.inf, -math.inf]
    assert np.isnan(out[2])
    assert (out[3:6] == 1000.0).all()  # the number of a number and NaN
    assert abs(out[6]) < 3e-7
    assert out[7] == 2.0


def test_configured_launches_are_independent():
    def body(out):
        cuda.atomic.add(out, 0, 1)

    k = kernel(body)
    small, large = k[1, 2], k[3, 4]
    out = np.zeros(1, np.int64)
    small(out)
    assert out[0] == 2
    large(out)
    assert out[0] == 14


def test_runs_are_repeatable():
    def body(out):
        out[0] = 1.1 * out[0] + cuda.grid(1)  # a race, in the same order in each run of a program

    import simulator

    runs = []
    for _ in range(2):
        simulator._launches.clear()
        runs.append([run(body, np.zeros(1), blocks=3)[0] for _ in range(3)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1  # and in another order in each launch
