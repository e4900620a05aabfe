"""What a job is: the spec that a user sends, as frozen data, with every default and every limit."""

from typing import Annotated, Any, ClassVar, Literal
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "AutoLoss",
    "Checkpoint",
    "ConstantSchedule",
    "CosineSchedule",
    "CrossEntropyLoss",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "ExponentialSchedule",
    "HuberLoss",
    "InitialParameters",
    "JobSpec",
    "Layer",
    "Loss",
    "MaeLoss",
    "MseLoss",
    "Optimizer",
    "Preprocessing",
    "RMSprop",
    "Schedule",
    "Sgd",
    "StepSchedule",
    "ValidationDataset",
    "ValidationFraction",
    "Workers",
]

Activation = Literal["identity", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "silu"]
ACTIVATIONS: tuple[Activation, ...] = Activation.__args__  # type: ignore[attr-defined]

MAX_UNITS = 1_000_000
MAX_LAYERS = 100
MAX_EPOCHS = 1_000_000
MAX_BATCH = 1_000_000
MAX_SHARDS = 64
LOWEST_PRIORITY, HIGHEST_PRIORITY = -1_000_000, 1_000_000
MAX_WORKERS = 1_024


class Record(BaseModel):
    """Frozen data without surprises: unknown fields, NaN and values of another type are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _storable(text: str) -> str:
    if "\x00" in text or any(category(character) == "Cs" for character in text):
        raise PydanticCustomError("printable", "text without NUL and lone surrogates")
    return text


def _printable(text: str) -> str:
    if any(category(character) in ("Cc", "Cs") for character in text):
        raise PydanticCustomError("printable", "text without control characters and lone surrogates")
    return text


# Said in the schema, and checked by us, as its own check could only tell of a pattern.
STORABLE = {"pattern": "^[^\\x00]*$"}
PRINTABLE = {"pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$"}
Name = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra=PRINTABLE), AfterValidator(_printable)]
ColumnName = Annotated[  # as a file's header has it
    str, Field(min_length=1, max_length=200, json_schema_extra=STORABLE), AfterValidator(_storable)
]
LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]{0,62}$")]
LabelValue = Annotated[str, Field(max_length=200, json_schema_extra=PRINTABLE), AfterValidator(_printable)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64, json_schema_extra={"additionalProperties": False})]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]
LearningRate = Annotated[
    float, Field(ge=0, le=1e6, description="How far a step goes. 0 trains nothing, which is sometimes what one wants.")
]


# ---------------------------------------------------------------- layers
class Dense(Record):
    """A fully connected layer followed by an activation: y = f(x W + b)."""

    type: Literal["dense"]
    units: Annotated[int, Field(ge=1, le=MAX_UNITS)]
    """Number of outputs of the layer."""
    activation: Activation = "relu"
    """The function applied to each output."""


class Dropout(Record):
    """While training, sets each value to 0 with probability `rate` and scales the others by 1 / (1 - rate)."""

    type: Literal["dropout"]
    rate: Annotated[float, Field(ge=0, lt=1)]
    """Probability of a value to be dropped."""


Layer = Annotated[Dense | Dropout, Field(discriminator="type")]


# ---------------------------------------------------------------- losses
class AutoLoss(Record):
    """Cross-entropy for a classification, mean squared error for a regression."""

    type: Literal["auto"]


class CrossEntropyLoss(Record):
    """Cross-entropy of the softmax (of the sigmoid, for two classes); classification only."""

    type: Literal["cross_entropy"]


class MseLoss(Record):
    """Mean over rows and outputs of the squared error; regression only."""

    type: Literal["mse"]


class MaeLoss(Record):
    """Mean over rows and outputs of the absolute error; regression only."""

    type: Literal["mae"]


class HuberLoss(Record):
    """Mean over rows and outputs of e²/2 where |e| ≤ delta, else delta (|e| - delta/2); regression only."""

    type: Literal["huber"]
    delta: Positive = 1.0
    """Where the loss turns from a parabola into a line, in units of the (standardized) target."""


Loss = Annotated[AutoLoss | CrossEntropyLoss | MseLoss | MaeLoss | HuberLoss, Field(discriminator="type")]


# ---------------------------------------------------------------- optimizers
class Sgd(Record):
    """Gradient descent: v ← momentum v + g; w ← w - lr v (with nesterov: w ← w - lr (g + momentum v))."""

    type: Literal["sgd"]
    learning_rate: LearningRate = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last step that is kept."""
    nesterov: bool = False
    """Look ahead along the momentum; needs momentum > 0."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Sgd":
        if self.nesterov and self.momentum == 0:
            raise PydanticCustomError("field", "false, or momentum > 0", {"field": "nesterov", "got": True})
        return self


class Adam(Record):
    """Adam (Kingma & Ba, 2015): steps scaled by running means of the gradient and of its square."""

    type: Literal["adam"]
    learning_rate: LearningRate = 0.001
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the running mean of the gradient."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the running mean of the squared gradient."""
    epsilon: Positive = 1e-8
    """Keeps the division away from zero."""


class AdamW(Adam):
    """Adam with weight decay applied to the weights themselves, not to the gradient (Loshchilov & Hutter, 2019)."""

    type: Literal["adamw"]  # type: ignore[assignment]
    weight_decay: NotNegative = 0.01
    """Share of each weight (not of the biases) that is taken away a step, times the learning rate."""


class RMSprop(Record):
    """RMSprop (Hinton, 2012): the gradient divided by the root of the running mean of its square."""

    type: Literal["rmsprop"]
    learning_rate: LearningRate = 0.001
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the running mean of the squared gradient."""
    epsilon: Positive = 1e-8
    """Keeps the division away from zero."""


class Adagrad(Record):
    """Adagrad (Duchi et al., 2011): the gradient divided by the root of the sum of all its squares so far."""

    type: Literal["adagrad"]
    learning_rate: LearningRate = 0.01
    epsilon: Positive = 1e-10
    """Keeps the division away from zero."""


Optimizer = Annotated[Sgd | Adam | AdamW | RMSprop | Adagrad, Field(discriminator="type")]


# ---------------------------------------------------------------- schedules
class ConstantSchedule(Record):
    """The learning rate never changes."""

    type: Literal["constant"]


class StepSchedule(Record):
    """The learning rate is multiplied by `factor` every `every_epochs` epochs."""

    type: Literal["step"]
    every_epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    """Epochs between two drops."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What the learning rate is multiplied by."""


class ExponentialSchedule(Record):
    """The learning rate is multiplied by `decay` after every epoch."""

    type: Literal["exponential"]
    decay: Annotated[float, Field(gt=0, le=1)]
    """What the learning rate is multiplied by, an epoch."""


class CosineSchedule(Record):
    """Up in a line over the warm-up, then down along half a cosine to `final_fraction` of the learning rate."""

    type: Literal["cosine"]
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps of the warm-up: the first at 1/warmup_steps of the learning rate, the last at the whole."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the learning rate at the last step."""


Schedule = Annotated[
    ConstantSchedule | StepSchedule | ExponentialSchedule | CosineSchedule, Field(discriminator="type")
]


# ---------------------------------------------------------------- the rest
class Workers(Record):
    """How many gradient workers may compute at once. Never changes the result, only the time."""

    min: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    """The job starts as soon as this many CPUs are free."""
    max: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 2
    """It takes at most this many."""

    @model_validator(mode="after")
    def _in_order(self) -> "Workers":
        if self.max < self.min:
            raise PydanticCustomError("field", "at least min", {"field": "max", "got": self.max})
        return self


def _workers_from_number(value: Any) -> Any:
    """4 is short for {"min": 1, "max": 4}."""
    return {"min": 1, "max": value} if isinstance(value, int) and not isinstance(value, bool) else value


_WorkersGiven = Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Workers


class ValidationFraction(Record):
    """Sets aside a share of the rows, chosen by the seed."""

    fraction: Annotated[float, Field(gt=0, lt=1)]
    """Share of the rows that are validated on and never trained on."""


class ValidationDataset(Record):
    """Validates on another data set with the same columns."""

    dataset: Name
    """Id or name of the data set."""


class EarlyStopping(Record):
    """Stops when the metric has not improved for `patience` epochs, and keeps the best epoch's weights."""

    metric: Literal["loss", "accuracy", "auc", "rmse", "mae", "r2", "train_loss"] = "loss"
    """Which validation metric is watched; `train_loss` is an epoch's loss over the training rows, and needs no
    validation."""
    patience: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 3
    """Epochs without improvement after which the job stops."""
    min_delta: NotNegative = 0.0
    """An improvement smaller than this does not count."""


class Preprocessing(Record):
    """How columns become numbers; fitted on the training rows only and kept with the model."""

    standardize: bool = True
    """Number, integer and tensor features, and the target of a regression, to mean 0 and standard deviation 1."""
    missing: Literal["mean", "error"] = "mean"
    """A missing number becomes the mean of the training rows, or is an error. A missing category is a category."""


class InitialParameters(Record):
    """Where training starts: a weight matrix (inputs × outputs) and a bias vector for each dense layer, output last."""

    weights: Annotated[list[list[list[float]]], Field(min_length=1)]
    """For each dense layer, one row for each input, one number in it for each output."""
    biases: Annotated[list[list[float]], Field(min_length=1)]
    """For each dense layer, one number for each output."""


class Checkpoint(Record):
    """When the state of the training is written to disk."""

    every_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """Seconds between two checkpoints."""


def _one_or_many(value: str | list[str]) -> str | list[str]:
    names = [value] if isinstance(value, str) else value
    if len(set(names)) != len(names):
        raise PydanticCustomError("distinct", "column names that differ")
    return value


class JobSpec(Record):
    """One training job: data, network, and how to train it. Everything but name, labels, workers, priority, checkpoint
    and the limits of time is part of the result's identity: two jobs alike in it, on the same data, end with the same
    bits."""

    NOT_IN_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"name", "labels", "workers", "priority", "checkpoint", "max_runtime_s", "max_wait_s"}
    )

    name: Name = "untitled"
    """For people."""
    labels: Labels = Field(default={})
    """A flat map to filter jobs by."""
    dataset: Name
    """Id or name of the data set to train on; a name means its newest version."""
    target: Annotated[
        ColumnName | Annotated[list[ColumnName], Field(min_length=1, max_length=10_000)], AfterValidator(_one_or_many)
    ]
    """The column to learn, or a list of columns for several outputs (regression)."""
    features: (
        Annotated[list[ColumnName], Field(min_length=1, max_length=100_000), AfterValidator(_one_or_many)] | None
    ) = None
    """The columns to learn from; by default all others that can be used (text and timestamps cannot)."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """By default a category, boolean or text target is a classification, anything else a regression."""
    layers: Annotated[list[Layer], Field(max_length=MAX_LAYERS)] = Field(default=[])
    """Hidden layers in order; [] is a linear model. The output layer follows from target and task."""
    loss: Loss = AutoLoss(type="auto")
    """What is minimized."""
    optimizer: Optimizer = Adam(type="adam")
    """How weights follow from gradients."""
    schedule: Schedule = ConstantSchedule(type="constant")
    """How the learning rate changes."""
    l1: NotNegative = 0.0
    """Adds l1 Σ|w| over the weights (not the biases) to the loss."""
    l2: NotNegative = 0.0
    """Adds l2/2 Σw² over the weights (not the biases) to the loss."""
    clip_norm: Positive | None = None
    """Scales a gradient down to this Euclidean norm where it is longer."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 256
    """Rows a step. The last batch of an epoch may be smaller."""
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 10
    """Passes over the training rows."""
    shuffle: bool = True
    """A new order of the rows each epoch."""
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] = 8
    """Into how many pieces each batch is cut: part of the result's identity, and the most workers that can be busy."""
    workers: Annotated[Workers, BeforeValidator(_workers_from_number, json_schema_input_type=_WorkersGiven)] = Workers()
    """How many workers may compute at once: 4 is short for {"min": 1, "max": 4}."""
    validation: ValidationFraction | ValidationDataset | None = None
    """What to measure the network on after each epoch."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the last epoch; needs validation, unless its metric is `train_loss`."""
    preprocessing: Preprocessing = Preprocessing()
    """How columns become numbers."""
    initial_parameters: InitialParameters | None = None
    """Where training starts; by default He's or Glorot's random weights, by activation, and zero biases."""
    dtype: Literal["float32", "float64"] = "float32"
    """The numbers that parameters, activations and gradients are kept in."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """What all randomness follows from."""
    priority: Annotated[int, Field(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)] = 0
    """Higher starts first; running jobs of lower priority shrink or pause for it."""
    checkpoint: Checkpoint = Checkpoint()
    """How often checkpoints are written."""
    max_runtime_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Seconds of training after which the job fails, of all its attempts together; neither waiting, nor pauses, nor
    preparing the data, nor what was lost with an attempt counts. No limit by default."""
    max_wait_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Seconds after its submit in which the job must have started, or it fails; once it has started, it may wait again
    as long as need be. No limit by default."""

    @model_validator(mode="after")
    def _early_stopping_needs_validation(self) -> "JobSpec":
        rule = self.early_stopping
        if rule is not None and rule.metric != "train_loss" and self.validation is None:
            raise PydanticCustomError(
                "field",
                "a spec with validation, or the metric train_loss",
                {"field": "early_stopping", "got": "early_stopping without validation"},
            )
        return self

    @property
    def targets(self) -> list[str]:
        """The target columns, one or several."""
        return [self.target] if isinstance(self.target, str) else self.target

    def identity(self) -> dict[str, Any]:
        """What the result depends on, as JSON data: the spec without what only people and the scheduler care for."""
        return self.model_dump(mode="json", exclude=set(self.NOT_IN_IDENTITY))
