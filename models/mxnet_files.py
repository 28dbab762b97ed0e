# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads the files of MXNet's save_checkpoint: the graph, and the arrays that are its parameters."""

import ast
import json
import re
import struct
from collections import namedtuple

import numpy as np


class Refused(Exception):
    """What is wrong with the files, for the user."""


# Parameters: src/ndarray/ndarray.cc of MXNet, NDArray::Load and NDArray::Save.

LIST_MAGIC = 0x112
# Before the first of these, an array began with its number of dimensions.
V1_MAGIC, V2_MAGIC, V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MOST_DIMENSIONS = 32
DENSE = 0
# mshadow's type flags.
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}


class Reader:
    def __init__(self, data):
        self.data = data
        self.position = 0

    def bytes(self, count):
        part = self.data[self.position : self.position + count]
        if len(part) < count:
            raise Refused("it ends too soon")
        self.position += count
        return part

    def number(self, form):
        return struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))[0]

    def shape(self, ndim, form):
        if ndim > MOST_DIMENSIONS:
            raise Refused(f"an array has {ndim} dimensions")
        shape = [self.number(form) for _ in range(ndim)]
        if any(size < 0 for size in shape):
            raise Refused(f"an array has the shape {shape}")
        return shape

    def array(self):
        magic = self.number("I")
        if magic in (V2_MAGIC, V3_MAGIC):
            if self.number("i") != DENSE:
                raise Refused("it has sparse arrays")
            ndim = self.number("i")
            # An array without values, which the two say differently.
            if ndim < 0 or (ndim == 0 and magic == V2_MAGIC):
                return None
            shape = self.shape(ndim, "q")
        else:
            shape = self.shape(self.number("I"), "q") if magic == V1_MAGIC else self.shape(magic, "I")
            if not shape:
                return None
        self.bytes(8)  # the device: a type and an index
        flag = self.number("i")
        if flag not in DTYPES:
            raise Refused(f"an array has the unknown element type {flag}")
        dtype = np.dtype(DTYPES[flag])
        # In Python's integers, which do not overflow.
        count = 1
        for size in shape:
            count *= size
        return np.ndarray(shape, dtype, self.bytes(count * dtype.itemsize))


def read_params(data):
    """Arrays by name."""
    reader = Reader(data)
    if len(data) < 8 or reader.number("Q") != LIST_MAGIC:
        raise Refused("it is no list of MXNet's arrays")
    reader.number("Q")  # reserved
    arrays = [reader.array() for _ in range(reader.number("Q"))]
    names = [reader.bytes(reader.number("Q")).decode() for _ in range(reader.number("Q"))]
    if len(names) != len(arrays):
        raise Refused("its arrays have no names")
    # "arg:" or "aux:" before each.
    return {name.rpartition(":")[2]: array for name, array in zip(names, arrays) if array is not None}


# The graph: nodes in an order in which they can be computed, by position.

Node = namedtuple("Node", "op name attributes inputs")


def read_symbol(data):
    """The nodes, and the outputs as pairs of a node's and its output's position."""
    try:
        symbol = json.loads(data)
        nodes = [read_node(node) for node in symbol["nodes"]]
        heads = [tuple(head[:2]) for head in symbol["heads"]]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused(f"it is no symbol of MXNet: {error!r}") from error
    for position, node in enumerate(nodes):
        if not all(0 <= source < position for source, _ in node.inputs):
            raise Refused(f"the node {node.name} has inputs that do not come before it")
    if not heads or not all(0 <= source < len(nodes) for source, _ in heads):
        raise Refused("it has no outputs, or some that no node gives")
    return nodes, heads


def read_node(node):
    attributes = {}
    # Old versions wrote the first two.
    for key in ("param", "attr", "attrs"):
        attributes.update(node.get(key) or {})
    inputs = [(int(source[0]), int(source[1])) for source in node["inputs"]]
    return Node(node["op"], node["name"], attributes, inputs)


def parse(text):
    """A value as MXNet prints it: 1, 1e-05, True, None, (1, 1), (8L, 3L)."""
    try:
        return ast.literal_eval(re.sub(r"(?<=\d)L\b", "", str(text)))
    except (ValueError, SyntaxError):
        return str(text)


def read(path, reader):
    """What one of the two functions above makes of a file."""
    try:
        with open(path, "rb") as file:
            return reader(file.read())
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error
    except (Refused, UnicodeDecodeError) as error:
        raise Refused(f"{path}: {error}") from error
