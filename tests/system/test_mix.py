"""Faults of processes, a broker and the database, by dice; and mutants that prove the checker."""

import random
from pathlib import Path

import pytest

from faults.catalogue import FAULTS, MIX
from faults.installation import Installation
from faults.mutants import MUTANTS
from faults.run import run_all_in

#: Chosen anew each time; it is in what a failure prints.
SEED = random.randrange(1_000_000)


@pytest.mark.alone
def test_a_mix_of_faults_loses_and_doubles_nothing(tmp_path: Path, stack_cache: Path) -> None:
    said: list[str] = [f"seed {SEED}"]
    with Installation(tmp_path, stack_cache) as site:
        (result,) = run_all_in(site, [MIX], seed=SEED, is_long=False, say=said.append)
    assert not result.broken, "\n".join(said)
    assert not result.undrained, "\n".join(said)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_checker_names_what_a_process_that_errs_breaks(
    tmp_path: Path, stack_cache: Path, mutant: str
) -> None:
    faults = [each for each in FAULTS if each.name == "gateways are cut off Kafka, and die"]
    said: list[str] = [f"seed {SEED}"]
    with Installation(tmp_path, stack_cache, mutant=mutant) as site:
        (result,) = run_all_in(site, faults, seed=SEED, is_long=False, say=said.append)
    uncounted = [each for each in MUTANTS[mutant].breaks if not result.broken.counts[each]]
    assert uncounted == [], "\n".join(said)
