"""The estimators are scikit-learn's, by its own checks: on a service in this process that really trains.

Some fifty fits each: the tests end to end, on Ray, are those that need it.
"""

from typing import Any

import pytest

from chainrule import Client
from support.service_in_process import Service

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.utils.estimator_checks import check_estimator

from chainrule.sklearn import MLPClassifier, MLPRegressor


@pytest.mark.timeout(900)  # 20 s of CPU each, the training included
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_scikit_learns_own_checks_pass(training_service: Service, estimator: Any) -> None:
    """With a hundred epochs, as scikit-learn's tests check its own networks."""
    with Client(training_service.url, training_service.key) as client:
        told = check_estimator(estimator(max_iter=100, client=client))
    assert len(told) > 50
    assert [one["check_name"] for one in told if one["status"] != "passed"] == ["check_array_api_input"]
