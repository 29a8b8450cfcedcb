"""Killed anywhere, the same command ends as if nothing had happened; see ``tests/reliability/kills.py``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nursery import Nursery
from tests.reliability.kill_point import KillPoint
from tests.reliability.kills import RUN, Campaign, Scenario, drawn, scenarios


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as started:
        yield started


def check(campaign: Campaign, scenario: Scenario) -> None:
    campaign.run(scenario)
    assert not [failure for failure in campaign.failures if failure.startswith(f"{scenario.name}: ")]
    own = [outcome for outcome in campaign.outcomes if outcome.scenario == scenario.name]
    assert [str(outcome.point) for outcome in own if not outcome.struck] == [], "these moments never came"


@pytest.mark.timeout(600)
def test_killed_in_a_step_and_while_a_checkpoint_is_written(nursery: Nursery, tmp_path: Path) -> None:
    """The quick one of these tests: two kills of one run."""
    points = [KillPoint("replace", "*/last.ckpt", 1, "after"), KillPoint("optimizer", number=2)]
    check(Campaign(nursery, tmp_path), Scenario("quick", RUN, [points]))


@pytest.fixture(scope="module")
def campaign(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """One for all: scenarios of the same command are compared with the same uninterrupted run."""
    return Campaign(nursery, tmp_path_factory.mktemp("kills"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_killed_at_a_named_moment(campaign: Campaign, scenario: Scenario) -> None:
    check(campaign, scenario)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_moments_that_are_drawn(campaign: Campaign) -> None:
    campaign.run(drawn(campaign.nursery, campaign.folder / "counted"))
    assert not [failure for failure in campaign.failures if failure.startswith("drawn: ")]
