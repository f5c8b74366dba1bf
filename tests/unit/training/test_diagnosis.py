from visrec.training.diagnosis import diagnose


def rows(count: int, step: int, **values) -> list[dict]:
    healthy = {"loss_encoder": 1.0, "variance_mean": 0.9, "sample_spread": 0.8}
    return [{"iteration": step * (i + 1), **healthy, **values} for i in range(count)]


def test_diagnose_calls_collapse_what_lasts():
    assert diagnose(rows(10, 200)) == ("ok", "")
    status, reason = diagnose(rows(10, 200, variance_mean=0.001))
    assert status == "collapsed"
    assert reason == "latents of real images have less than 1% of the healthy variance from iteration 1200 to 2000"
    assert diagnose(rows(10, 200, sample_spread=0.001))[0] == "collapsed"
    # one good reading within the last 1,000 iterations, or fewer than 1,000 iterations, or than three readings: not yet
    assert diagnose(
        rows(6, 200, variance_mean=0.001) + rows(10, 200)[6:7] + rows(10, 200, variance_mean=0.001)[7:]
    ) == (
        "ok",
        "",
    )
    assert diagnose(rows(30, 10, variance_mean=0.001))[0] == "ok"
    assert diagnose(rows(2, 2000, variance_mean=0.001))[0] == "ok"
    assert diagnose(rows(3, 2000, variance_mean=0.001))[0] == "collapsed"
