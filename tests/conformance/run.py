"""Run timm's own model tests, from its source distribution, over our models.

    python tests/conformance/run.py [--cache DIR] [pytest arguments, such as -k resnet18]
"""

import argparse
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import timm


def timm_tests(cache: Path) -> Path:
    """The ``tests`` folder of the installed timm's source distribution, fetched once from the package index."""
    tests = cache / f"timm-{timm.__version__}" / "tests"
    if not tests.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "timm"]
        subprocess.run([*command, "--dest", str(cache), f"timm=={timm.__version__}"], check=True)
        with tarfile.open(cache / f"timm-{timm.__version__}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return tests


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where the source distribution is kept")
    args, pytest_args = parser.parse_known_args()
    suite = timm_tests(args.cache) / "test_models.py"
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-m", "pytest", "-p", "plugin", "-c", str(here / "pytest.ini"), str(suite), *pytest_args]
    path = {"PYTHONPATH": str(here)}
    sys.exit(subprocess.run(command, env={**os.environ, **path}).returncode)
