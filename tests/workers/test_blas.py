"""The BLAS kernel follows from the CPU's flags, never from a guess."""

from pathlib import Path

from workers.blas import SKYLAKE_X, cpu_flags, environment_for, kernel_for, prepare_process

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


def test_flags_are_read_from_the_first_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "fma"}
    assert cpu_flags(tmp_path / "missing") == frozenset()
