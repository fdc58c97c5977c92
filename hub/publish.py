"""Publish trained models on the Hugging Face Hub.

    python hub/publish.py runs/<name> --repo-id owner/name --dry-run    # write the folder and list it
    python hub/publish.py runs/<name> --repo-id owner/name [--private]
    python hub/publish.py --all                                         # every hub/<arch.tag>, what `make publish` runs

The same as `fmpn publish`.
"""

import sys

from fmpn_timm.cli import main

if __name__ == "__main__":
    main(["publish", *sys.argv[1:]])
