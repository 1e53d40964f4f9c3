from provider_kms import metrics


def test_every_metric_has_our_prefix_and_a_meaning() -> None:
    made = metrics.Metrics()
    made.mounts.labels("OK").inc()

    text = made.render().decode()

    names = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert {name for name in names if not name.startswith("kms_provider_")} <= {
        name for name in names if name.startswith("process_")
    }
    assert 'kms_provider_mounts_total{code="OK"} 1.0' in text
    assert all(len(line.split()) > 4 for line in text.splitlines() if line.startswith("# HELP"))


def test_two_do_not_mix() -> None:
    one, other = metrics.Metrics(), metrics.Metrics()

    one.login_reuses.inc()

    assert other.registry.get_sample_value("kms_provider_login_reuses_total") == 0
