"""Faults of processes, brokers and the database, one after the other, by dice; and a mutant."""

import random
from pathlib import Path

import pytest

from faults.catalogue import FAULTS
from faults.installation import Installation
from faults.mutants import MUTANTS
from faults.run import run_all_in

#: Chosen anew each time; it is in what a failure prints.
SEED = random.randrange(1_000_000)

#: What takes least time, of each kind.
MIX = (
    "trackers die",
    "a broker dies",
    "gateways are cut off Kafka, and die",
    "connections to PostgreSQL end",
)


@pytest.mark.alone
def test_a_mix_of_faults_loses_and_doubles_nothing(tmp_path: Path, stack_cache: Path) -> None:
    faults = [each for each in FAULTS if each.name in MIX]
    random.Random(SEED).shuffle(faults)
    said: list[str] = [f"seed {SEED}"]
    with Installation(tmp_path, stack_cache) as site:
        results = run_all_in(site, faults, seed=SEED, is_long=False, say=said.append)
    broken = [each for each in results if each.broken or each.undrained]
    assert not broken, "\n".join(said)


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
    invariant = MUTANTS[mutant][2]
    assert any(line.startswith(f"{invariant} ") for line in result.broken), "\n".join(said)
