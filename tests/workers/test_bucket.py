"""Checkpoints in an S3-compatible bucket."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import Unavailable
from support.buckets import BUCKET, URL, BucketServer, bucket_server, server_that_cuts_off
from support.checkpoints import at, same, steps_in, write
from support.training import digest_of, ended, job_of, run
from workers.bucket import PART_BYTES, Bucket
from workers.checkpoint import Checkpoint, newest
from workers.checkpoint_files import step_and_digest
from workers.coordinator import LOOK_UP_EVERY_S, Coordinator
from workers.job import Report, TrainingJob
from workers.parameter_server import ServerState
from workers.storage import StorageAway, check_storage
from workers.transport import LocalTransport


@pytest.fixture(scope="module")
def lasting() -> Iterator[BucketServer]:
    with bucket_server() as found:
        yield found


@pytest.fixture
def server(lasting: BucketServer) -> BucketServer:
    lasting.start_anew()
    return lasting


@pytest.fixture
def leaving() -> Iterator[BucketServer]:
    """One that a test may send away."""
    with bucket_server() as found:
        yield found


@pytest.fixture
def bucket(server: BucketServer) -> Bucket:
    return Bucket(f"{URL}/job_test")


def test_what_was_written_is_read_back(bucket: Bucket, server: BucketServer) -> None:
    assert newest(bucket) == (None, [])
    write(bucket, at(7))
    assert same(newest(bucket)[0], at(7))
    assert [key.rpartition("/")[0] for key in server.objects()] == ["team-a/job_test"]


def test_a_checkpoint_of_several_parts_is_one_object(bucket: Bucket) -> None:
    large = np.random.default_rng(0).standard_normal(PART_BYTES // 4 * 2 + 1000, np.float32)
    checkpoint = Checkpoint(3, ServerState(large), {})
    write(bucket, checkpoint)
    assert same(newest(bucket)[0], checkpoint)


def test_the_newest_two_are_kept_and_all_are_cleared(bucket: Bucket, server: BucketServer) -> None:
    write(Bucket(f"{URL}/job_other"), at(1))
    for step in (1, 2, 10, 300):
        write(bucket, at(step))
    assert steps_in(bucket) == [10, 300]
    for _ in range(2):
        bucket.clear()
        assert [key.split("/")[1] for key in server.objects()] == ["job_other"]


def test_a_damaged_object_is_passed_over_for_the_one_before(bucket: Bucket, server: BucketServer) -> None:
    for step in (1, 2):
        write(bucket, at(step))
    (key,) = (key for key in server.objects() if "step-000000000002" in key)
    server.client().put_object(Bucket=BUCKET, Key=key, Body=b"something else")
    found, damaged = newest(bucket)
    assert same(found, at(1))
    assert [step_and_digest(name)[0] for name in damaged] == [2]


def test_a_bucket_that_does_not_answer_is_not_taken_for_an_empty_one(leaving: BucketServer) -> None:
    bucket = Bucket(f"{URL}/job_test")
    write(bucket, at(1))
    leaving.go_away()
    for ask in (bucket.names, lambda: write(bucket, at(2)), lambda: newest(bucket), bucket.clear):
        with pytest.raises(StorageAway, match="the bucket cannot be asked: EndpointConnectionError"):
            ask()


def test_a_connection_that_breaks_within_a_body_is_a_bucket_that_is_away() -> None:
    with server_that_cuts_off():
        bucket = Bucket(f"{URL}/job_test")
        for ask in (bucket.names, lambda: bucket.read("step"), lambda: newest(bucket), bucket.clear):
            with pytest.raises(StorageAway, match="the bucket cannot be asked: "):
                ask()


def test_an_upload_that_is_broken_off_leaves_nothing(bucket: Bucket, server: BucketServer) -> None:
    class Broken:
        """A content that cannot be read to its end."""

        def __iter__(self) -> Iterator[bytes]:
            yield bytes(2 * PART_BYTES)
            raise OSError("broken off")

    with pytest.raises(OSError):
        bucket.write("step", Broken())  # type: ignore[arg-type]
    assert bucket.names() == []
    assert server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


# ---------------------------------------------------------------- jobs
def in_bucket(job: TrainingJob) -> TrainingJob:
    return replace(job, checkpoints=f"{URL}/{job.id}")


def test_a_job_resumes_from_its_bucket_on_another_machine_with_the_same_bits(tmp_path: Path, bucket: Bucket) -> None:
    class PausedAt7(LocalTransport):
        def steps(self, first: int, count: int) -> list[float]:
            if first <= 7 < first + count:
                coordinator.request("pause")
            return super().steps(first, count)

    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    coordinator = Coordinator(in_bucket(job_of(tmp_path / "here")), PausedAt7(1))
    coordinator.run()
    (kept,) = steps_in(bucket)
    assert kept > 7
    elsewhere = run(in_bucket(job_of(tmp_path / "elsewhere", attempt=2)))
    assert [report.data["resumed_from_step"] for report in elsewhere if report.type == "started"] == [kept]
    assert digest_of(elsewhere) == undisturbed
    for machine in ("here", "elsewhere"):
        assert not (tmp_path / machine / "checkpoints").exists()


def test_training_goes_on_without_the_bucket_and_says_so(tmp_path: Path, leaving: BucketServer) -> None:
    class LosesTheBucket(LocalTransport):
        """Takes its time until it has been told that the bucket is away."""

        def steps(self, first: int, count: int) -> list[float]:
            leaving.go_away()
            if not told:
                told.extend(report for report in coordinator.reports(0, LOOK_UP_EVERY_S) if report.type == "trouble")
            return super().steps(first, count)

    told: list[Report] = []
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed", epochs=20)))
    job = in_bucket(job_of(tmp_path / "job", epochs=20, checkpoint={"every_s": 1e-6}))
    coordinator = Coordinator(job, LosesTheBucket(1))
    coordinator.run()
    reports = coordinator.reports(0, 0)
    assert digest_of(reports) == undisturbed
    assert [report.data["reason"] for report in reports if report.type == "trouble"] == [
        "checkpoints cannot be written (the bucket cannot be asked: EndpointConnectionError): there is none yet; "
        "tried again while it trains"
    ]


def test_a_job_whose_checkpoints_cannot_be_read_pauses_and_does_not_begin_anew(
    tmp_path: Path, leaving: BucketServer
) -> None:
    leaving.go_away()
    coordinator = Coordinator(in_bucket(job_of(tmp_path / "job", attempt=2)), LocalTransport(1), reads_within_s=0.0)
    coordinator.run()
    end = ended(coordinator.reports(0, 0))
    assert (end["outcome"], end["reason"]) == (
        "paused",
        "its checkpoints cannot be read: the bucket cannot be asked: EndpointConnectionError; "
        "resume it when that is mended",
    )


# ---------------------------------------------------------------- at the service's start
def test_a_bucket_that_can_be_written_to_is_taken_and_left_as_it_was(server: BucketServer) -> None:
    check_storage(URL)
    check_storage(f"s3://{BUCKET}")
    assert server.objects() == []


@pytest.mark.parametrize("url", ["s3://no-such-bucket", "s3://no-such-bucket/prefix"])
def test_a_bucket_that_is_not_there_is_refused_by_name(server: BucketServer, url: str) -> None:
    with pytest.raises(Unavailable, match=f"kept at {url}: got The specified bucket does not exist, expected a bucket"):
        check_storage(url)


def test_a_bucket_that_does_not_answer_is_refused_by_name(leaving: BucketServer) -> None:
    leaving.go_away()
    with pytest.raises(Unavailable, match=f"kept at {URL}: got the bucket cannot be asked: EndpointConnectionError"):
        check_storage(URL)
