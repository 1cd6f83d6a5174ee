"""Reads what W&B writes without a network, with nothing of W&B's but its message type."""

import struct
import time

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024


def _records(path):
    """Records of a .wandb file: a LevelDB log of protobuf messages."""
    data = path.read_bytes()
    position, parts = 7, []
    while position < len(data):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0:
            break
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        # 1 = whole, 2 = first, 3 = middle, 4 = last part of a record.
        if kind in (1, 4):
            yield Record.FromString(b"".join(parts))
            parts = []


def read_wandb(path, seconds=60):
    """Records of a run that has been finished: W&B's own process may still be writing them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        records = list(_records(path))
        if any(found.WhichOneof("record_type") == "exit" for found in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path}: no end of the run within {seconds} s")


def offline_runs(folder):
    """The .wandb files below `folder`."""
    return sorted(folder.rglob("*.wandb"))


def key_of(item):
    """Key of a config, history or summary item, nested or not."""
    return item.key or "/".join(item.nested_key)
