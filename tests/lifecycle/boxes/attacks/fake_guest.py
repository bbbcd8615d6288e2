#!/usr/bin/python3 -IS
"""Takes the place of the interpreter of a box, and says something else than hello. What, its own file name tells."""

import os
import struct
import sys
import time

# FAKE -I -S main.py PARENT DEATHSIGNAL [CHANNEL]
CHANNEL = int(sys.argv[6]) if len(sys.argv) > 6 else 0
WHAT = os.path.basename(sys.argv[0])


def frame(body: bytes) -> None:
    os.write(CHANNEL, struct.pack(">I", len(body)) + b"J" + body)


if WHAT == "junk":
    os.write(CHANNEL, b"\xff" * 100)
elif WHAT == "early":
    frame(b'{"type":"send","id":1,"target":"witness","data":"early"}')
elif WHAT == "version":
    frame(b'{"type":"hello","protocol":[99,0],"guest":"x","python":"3.11.0","pid":1}')
elif WHAT == "deep":
    frame(b"[" * 100000)
elif WHAT == "dies":
    sys.stderr.write("no such luck\n")
    sys.exit(7)
elif WHAT == "odd":
    frame(b'{"type":"hello","protocol":[1,0],"guest":"x","python":"' + b"9" * 1000 + b'","pid":1e30}')
time.sleep(1000)
