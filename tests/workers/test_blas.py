"""The BLAS kernel follows from the CPU's flags, never from a guess."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.blas import ASKED_FOR, KERNELS, SKYLAKE_X, cpu_flags, environment_for, kernel_for, prepare_process

AVX512 = SKYLAKE_X | {"sse4_2"}


def test_a_cpu_with_all_of_avx_512s_flags_runs_its_kernel() -> None:
    assert kernel_for(AVX512) == "SkylakeX"


def test_one_missing_flag_leaves_the_choice_to_openblas() -> None:
    for flag in SKYLAKE_X:
        assert kernel_for(AVX512 - {flag}) is None
    assert "OPENBLAS_CORETYPE" not in environment_for(frozenset(), {})


def test_every_process_computes_on_one_thread() -> None:
    environ: dict[str, str] = {"OPENBLAS_NUM_THREADS": "16"}
    prepare_process(environ)
    assert environ["OPENBLAS_NUM_THREADS"] == "1"


def test_a_kernel_that_was_asked_for_is_left_as_it_is() -> None:
    assert "OPENBLAS_CORETYPE" not in environment_for(AVX512, {"OPENBLAS_CORETYPE": "Haswell"})


def test_a_kernel_that_was_named_for_the_whole_cluster_is_taken_where_the_cpu_can_run_it() -> None:
    for kernel, flags in KERNELS.items():
        present = {ASKED_FOR: kernel, "OPENBLAS_CORETYPE": "Zen"}
        assert environment_for(flags, present)["OPENBLAS_CORETYPE"] == kernel
    assert environment_for(AVX512, {ASKED_FOR: "Haswell"}).get("OPENBLAS_CORETYPE") == "SkylakeX"  # no "avx" told
    assert "OPENBLAS_CORETYPE" not in environment_for(KERNELS["Haswell"], {ASKED_FOR: "SkylakeX"})
    assert "OPENBLAS_CORETYPE" not in environment_for(frozenset(), {ASKED_FOR: "Cray"})


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_kernel_that_was_named_is_the_one_that_numpy_runs(kernel: str) -> None:
    if not cpu_flags() >= KERNELS[kernel]:
        pytest.skip(f"this CPU cannot run {kernel}")
    environ = {**os.environ, ASKED_FOR: kernel, "PYTHONPATH": str(Path(__file__).parents[2])}
    script = "import workers.blas; print(workers.blas.kernel_in_use())"
    found = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == kernel


def test_flags_are_read_from_the_first_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "fma"}
    assert cpu_flags(tmp_path / "missing") == frozenset()
