"""The learning rate of each step, as a pure function of the step's number."""

from math import cos, pi

from shared.spec import ConstantSchedule, CosineSchedule, ExponentialSchedule, Schedule, StepSchedule

__all__ = ["learning_rate_at"]


def learning_rate_at(schedule: Schedule, base: float, step: int, steps_per_epoch: int, steps: int) -> float:
    """The learning rate of step `step`, which counts from 0, of `steps` in all.

    step: base · factor^⌊epoch / every_epochs⌋; exponential: base · decay^epoch, with epoch = ⌊step / steps_per_epoch⌋.
    cosine (Loshchilov & Hutter, "SGDR", 2017, one cycle): base · (step + 1) / warmup_steps in the warm-up, so that its
    first step moves already and its last one is whole; then base · (f + (1 - f) (1 + cos π p) / 2), p going from 0 at
    the first step after the warm-up to 1 at the last one.
    """
    epoch = step // steps_per_epoch
    match schedule:
        case ConstantSchedule():
            return base
        case StepSchedule():
            return float(base * schedule.factor ** (epoch // schedule.every_epochs))
        case ExponentialSchedule():
            return float(base * schedule.decay**epoch)
        case CosineSchedule():
            return base * _cosine_share(schedule, step, steps)


def _cosine_share(schedule: CosineSchedule, step: int, steps: int) -> float:
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    remaining = steps - 1 - schedule.warmup_steps
    progress = min((step - schedule.warmup_steps) / remaining, 1.0) if remaining > 0 else 0.0
    return schedule.final_fraction + (1 - schedule.final_fraction) * (1 + cos(pi * progress)) / 2
