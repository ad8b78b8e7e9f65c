# SPDX-License-Identifier: MIT
"""echo_overriding.py PORT [poll]: the echo, whose class decides itself what
it waits for, as many did.  Every channel is asked in every pass."""

import echo_asyncore
import server


class OverridingHandler(echo_asyncore.EchoHandler):
    """Reads only when its answer has gone."""

    def readable(self):
        return not self.out_buffer

    def writable(self):
        return len(self.out_buffer) > 0


if __name__ == "__main__":
    server.main(OverridingHandler)
