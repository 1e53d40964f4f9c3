import dataclasses

from provider_kms import offline, sealed
from provider_kms.model import files
from provider_kms.model.request import Request
from tests.unit.provider_kms.model.test_request import parse
from tests.unit.provider_kms.test_budget import Clock

VOLUME = files.Volume((files.File("a", 0o644, b"x"),), (("a", "v"),))


def request(grace: str | None = "1h") -> Request:
    return parse(offlineGrace=grace)


def test_kept_for_the_grace_of_the_class() -> None:
    clock = Clock()
    answers = offline.Answers(clock)
    answers.keep(request(), VOLUME)

    clock.now += 3600
    assert answers.find(request()) == (VOLUME, 3600.0)
    clock.now += 1
    assert answers.find(request()) is None


def test_not_kept_where_it_is_not_asked_for() -> None:
    answers = offline.Answers()

    answers.keep(request(None), VOLUME)
    answers.forget(request(None))

    assert len(answers) == 0
    assert answers.find(request(None)) is None


def test_another_pod_and_another_token_of_the_account_find_it() -> None:
    answers = offline.Answers()
    first = request()
    answers.keep(first, VOLUME)
    identity = dataclasses.replace(first.identity, proof=sealed.Sealed("newer"))
    pod = dataclasses.replace(first.pod, name="front-2", uid="uid-2")

    assert answers.find(dataclasses.replace(first, identity=identity, pod=pod)) is not None


def test_another_question_does_not() -> None:
    answers = offline.Answers()
    first = request()
    answers.keep(first, VOLUME)

    for change in (
        {"identity": dataclasses.replace(first.identity, holder="other")},
        {"identity": dataclasses.replace(first.identity, id="J")},
        {"pod": dataclasses.replace(first.pod, namespace="other")},
        {"environment": "dev"},
        {"entries": ()},
        {"ca_pem": "x"},
        {"mode": 0},
    ):
        assert answers.find(dataclasses.replace(first, **change)) is None


def test_forgotten_at_once() -> None:
    answers = offline.Answers()
    answers.keep(request(), VOLUME)

    answers.forget(request())

    assert answers.find(request()) is None


def test_the_memory_is_bounded() -> None:
    answers = offline.Answers()
    large = files.Volume((files.File("a", 0, b"x" * (offline.MOST_BYTES // 5)),), ())
    huge = files.Volume((files.File("a", 0, b"x" * (offline.MOST_BYTES // 3)),), ())
    base = request()

    for number in range(8):
        answers.keep(dataclasses.replace(base, project=str(number)), large)
    answers.keep(dataclasses.replace(base, project="huge"), huge)

    assert len(answers) == 4
    assert answers.find(dataclasses.replace(base, project="7")) is not None
    assert answers.find(dataclasses.replace(base, project="0")) is None
    assert answers.find(dataclasses.replace(base, project="huge")) is None


def test_sweeping_drops_what_its_class_accepts_no_more() -> None:
    clock = Clock()
    answers = offline.Answers(clock)
    answers.keep(request("1h"), VOLUME)
    answers.keep(request("720h"), VOLUME)

    clock.now += 3601
    answers.sweep()

    assert len(answers) == 1
    assert answers.find(request("720h")) is not None
