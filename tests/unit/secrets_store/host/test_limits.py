import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from secrets_store.host import limits
soft, hard = (int(x) for x in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
limits.raise_descriptors()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize("soft", [100, 300])
def test_the_process_may_have_as_many_descriptors_as_it_can_get(soft: int) -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), "300"],
        capture_output=True,
        text=True,
        check=True,
        timeout=15,
    )

    assert told.stdout == "300 300\n"
