"""``python -m fmpn_timm.cli`` is the ``fmpn`` command."""

from . import main

main()
