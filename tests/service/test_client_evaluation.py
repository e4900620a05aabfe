"""The Python client judges models, and finds jobs by what came of them, at the real service."""

from chainrule import Client
from support.service_in_process import Service

HALF = {"validation": {"fraction": 0.5}, "layers": [4], "batch_size": 10, "epochs": 2}


def test_a_model_is_judged_and_found_by_its_bits(training_service: Service) -> None:
    with Client(training_service.url, training_service.key) as client:
        classes = client.train("numbers", target="kind", name="odd or even", **HALF).wait(60, progress=False)
        numbers = client.train("numbers", target="y", name="Numbers", **HALF).wait(60, progress=False)
        judged = classes.evaluation()
        assert (judged.rows, judged.classes, judged.targets) == (20, ["even", "odd"], None)
        assert judged.roc is not None
        assert judged.roc.area == classes.latest_metrics["validation_auc"]
        (target,) = numbers.evaluation().targets or ()
        assert (target.name, len(target.actual), sum(target.residuals.counts)) == ("y", 20, 20)
        assert [job.id for job in client.jobs(name="numbers")] == [numbers.id]
        assert [job.id for job in client.jobs(parameters_sha256=classes.parameters_sha256)] == [classes.id]
        assert [metric["epoch"] for metric in client.metrics(numbers.id, points=2)] == [1, 2]
        assert numbers.checkpoints() == [], "none once it has succeeded"


def test_the_columns_of_a_data_set_are_counted(training_service: Service) -> None:
    with Client(training_service.url, training_service.key) as client:
        counted = {one.column: (one.values, sum(one.counts)) for one in client.histograms("numbers")}
    assert counted == {"a": (None, 40), "b": (None, 40), "kind": (["even", "odd"], 40), "y": (None, 40)}
