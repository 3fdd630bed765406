"""`python -m p2p_server` is `p2p-server`."""

import sys

from p2p_server.cli import main

sys.exit(main())
