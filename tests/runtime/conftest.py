import sys
from pathlib import Path

# helpers shared by the tests of package, runtime and cli
sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
