"""The compute child: the one process that imports torch and holds a device.

`python -m api.compute --fd N --parent-pid P` serves the supervisor P at the other end of the socket
pair N (see `api.messages`). It imports everything heavy at once and then waits for `Start`, so that
a spare is warm. It keeps nothing that could be lost: it may be killed at any time.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from multiprocessing.connection import Connection

from api.instruments.logs import set_up_logging
from api.process import die_with_parent, set_library_environment

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve one supervisor until it closes the pipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the supervisor")
    parser.add_argument("--parent-pid", type=int, required=True, help="whose death ends it")
    parser.add_argument("--log-format", default="text", choices=["text", "json"])
    arguments = parser.parse_args()
    die_with_parent(signal.SIGKILL, arguments.parent_pid)
    # Control-C and service managers signal the whole group. The supervisor decides when its child
    # ends; a child that died first would look like a crash.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.dup2(2, 1)  # standard output belongs to `backdrop serve`; stray prints go to the log
    set_library_environment()
    set_up_logging("compute", arguments.log_format)
    os.set_inheritable(arguments.fd, False)  # a helper process must not keep the pipe open
    connection: Connection = Connection(arguments.fd)

    from api.compute_loop import serve  # imports torch: only now, with the environment set

    status = 1
    try:
        serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        status = 0
    except BaseException:
        logger.exception("the compute child cannot go on")
    logging.shutdown()
    # Not by way of the interpreter's own end: threads may be in the middle of torch's kernels,
    # which abort the process when Python is taken away from under them.
    os._exit(status)


if __name__ == "__main__":
    main()
