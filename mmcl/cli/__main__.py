"""`python -m mmcl.cli`: the command line without its installed script."""

from mmcl.__main__ import main

main()
