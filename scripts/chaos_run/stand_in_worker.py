"""The product's own supervisor over `stand_in_child`."""

from __future__ import annotations

import signal
import sys

from api import supervisor
from api.instruments.logs import set_up_logging
from api.settings import Settings

CHILD_COMMAND = (sys.executable, "-m", "scripts.chaos_run.stand_in_child")

if __name__ == "__main__":
    settings = Settings()
    set_up_logging("supervisor", settings.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Its default, so that all that runs is `run_supervisor` itself.
    defaults = supervisor.Supervisor.__init__.__kwdefaults__
    assert defaults is not None
    defaults["child_command"] = CHILD_COMMAND
    supervisor.run_supervisor(settings, "cpu")
