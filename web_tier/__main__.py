"""`python -m web_tier`: runs the web tier until a signal stops it. With --check it only looks for a wrong setting."""

from __future__ import annotations

import logging
import sys

from shoal import logs, traces
from shoal import settings as shoal_settings
from shoal.aws import PreparedFunction, connect
from shoal.clock import SystemClock
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal, end_when_a_thread_dies, end_within
from web_tier.app import check_venues, create_app
from web_tier.server import WebServer

log = logging.getLogger("web_tier")

WRONG_SETTINGS = 2


def main() -> int:
    """Serve until stopped. Returns the exit status: 0, or 2 when a setting is wrong or the port is in use."""
    end_when_a_thread_dies()
    with StopSignal() as stop:
        try:
            settings = shoal_settings.load_with_env_file()
            shoal_settings.check_exposure(settings)
            if sys.argv[1:] == ["--check"]:
                check_venues(settings)
                return 0
            logs.configure(settings.log_level)
            for sentence in shoal_settings.misspelt().values():
                log.warning("%s", sentence)
            traces.configure(settings.otlp_endpoint, "shoal-web")
            # waitress logs broken connections of clients as warnings: that is noise.
            logging.getLogger("waitress").setLevel(logging.ERROR)
            app = create_app(settings, connect(settings), SystemClock(), function=PreparedFunction(settings))
            server = WebServer(app, settings.host, settings.port, settings.web_threads)
        except ShoalError as error:
            print(error, file=sys.stderr)  # noqa: T201 - the only line that the user needs
            return WRONG_SETTINGS
        server.start()
        log.info("serving http://%s:%d", settings.host, server.port)
        stop.wait()
        log.info("stopping: %s", stop.reason)
        end_within()
        server.stop()
        traces.close()
        log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
