"""``python -m fmpn_timm`` is the ``fmpn`` command."""

from .cli import main

main()
