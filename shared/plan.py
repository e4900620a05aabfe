"""What a spec means for a data set: the spec completed, the network's size, and what training it will cost."""

from pydantic import BaseModel, ConfigDict

from shared.spec import JobSpec

__all__ = ["Plan"]


class Plan(BaseModel):
    """The outcome of checking a spec against its data; what a dry run answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    spec: JobSpec
    """The spec with every default filled in: task, loss and features too."""
    inputs: int
    """Width of the network's input: one for a number, one for each category, one for each element of a tensor."""
    outputs: int
    """Width of its output: one for two classes or a regression's target, else one for each class."""
    classes: int | None
    """Number of classes; null for a regression."""
    parameters: int
    """Weights and biases in all."""
    training_rows: int
    """Rows that are trained on."""
    validation_rows: int
    """Rows that are validated on."""
    steps_per_epoch: int
    """Batches in an epoch."""
    steps: int
    """Batches in all, if nothing stops the job early."""
    memory_bytes: int
    """Estimate of the private memory of all the job's processes together."""
    disk_bytes: int
    """Estimate of the disk that prepared data and checkpoints take while the job runs."""
    notes: list[str]
    """What a user might not expect, in words: columns left out, for example."""
