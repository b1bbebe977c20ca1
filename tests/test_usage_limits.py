"""The usage limits of visitors."""

from sd35.jobs.limits import UsageLimits


def test_the_owner_has_only_a_limit_of_parallel_jobs() -> None:
    assert UsageLimits.for_owner() == UsageLimits(max_concurrent=1)
    assert UsageLimits.for_owner(max_concurrent=0) == UsageLimits()


def test_zero_is_no_limit_for_visitors() -> None:
    assert UsageLimits.for_visitors(per_hour=5, total_per_hour=0) == UsageLimits(
        per_hour=5,
        total_per_hour=None,
        max_queued=12,
        max_queued_total=100,
        max_concurrent=1,
        max_concurrent_per_visitor=1,
    )


def test_visitors_with_quotas_of_their_own_do_not_wait_for_each_other() -> None:
    assert UsageLimits.for_visitors(has_own_quotas=True).max_concurrent == 20
