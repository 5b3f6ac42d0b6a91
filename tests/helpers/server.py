"""An HTTP server on this machine that prints nothing."""

from http.server import SimpleHTTPRequestHandler


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
