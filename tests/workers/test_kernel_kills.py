"""Whether the kernel ended a process for want of memory, by its own count."""

from pathlib import Path

from workers.kernel_kills import LATELY_S, VMSTAT, KernelKills


def counting(path: Path, count: int) -> Path:
    path.write_text(f"nr_free_pages 17\noom_kill {count}\npgfault 3\n")
    return path


def test_only_an_end_that_came_after_the_first_look_counts_and_only_for_a_while(tmp_path: Path) -> None:
    now = [0.0]
    kills = KernelKills(counting(tmp_path / "vmstat", 4), lambda: now[0])
    assert not kills.lately()
    counting(tmp_path / "vmstat", 5)
    assert kills.lately()
    now[0] += LATELY_S
    assert kills.lately()
    now[0] += 0.1
    assert not kills.lately()


def test_an_end_is_dated_by_the_look_that_saw_it(tmp_path: Path) -> None:
    now = [0.0]
    kills = KernelKills(counting(tmp_path / "vmstat", 0), lambda: now[0])
    counting(tmp_path / "vmstat", 1)
    kills.look()
    now[0] += 2 * LATELY_S
    assert not kills.lately()


def test_where_the_kernel_does_not_tell_nothing_was_ended(tmp_path: Path) -> None:
    assert not KernelKills(tmp_path / "missing").lately()


def test_this_kernel_tells() -> None:
    assert "oom_kill " in VMSTAT.read_text()
