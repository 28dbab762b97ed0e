#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Converts a face detector from MXNet to ONNX.

Reads PREFIX-symbol.json and PREFIX-EPOCH.params as MXNet's save_checkpoint writes them, of any version,
and knows the operators of InsightFace's RetinaFace networks and their kin. Needs the Python packages
numpy and onnx, not MXNet. The ONNX file takes pictures of any size.
"""

import argparse
import re
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mxnet_files import Refused, parse, read, read_params, read_symbol

# The first whose BatchNormalization says that it is not training.
OPSET = 14
IR_VERSION = 7

# What RetinaFace's decoding reads. A symbol with these may have other outputs, which are left out.
FACE_OUTPUT = re.compile(r"face_rpn_(cls_prob_reshape|bbox_pred|landmark_pred)_stride\d+$")

OPERATORS = {}


def operator(*names):
    def register(function):
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


class Converter:
    def __init__(self, nodes, params):
        self.nodes = nodes
        self.params = params
        self.made = []
        self.initializers = {}
        self.inputs = []
        self.ranks = {}
        self.node = None

    # What the operators below use.

    def refuse(self, why):
        raise Refused(f"the node {self.node.name} ({self.node.op}) {why}")

    def get(self, key, default=None):
        return parse(self.node.attributes[key]) if key in self.node.attributes else default

    def expect(self, key, *allowed):
        """Refuses a setting that would mean something else; allowed[0] is the default."""
        value = self.get(key, allowed[0])
        if value not in allowed:
            self.refuse(f"has {key}={value}, which is not supported")

    def pair(self, key, default):
        value = self.get(key, default)
        value = value if isinstance(value, (tuple, list)) else (value, value)
        value = value or (default, default)
        if len(value) != 2 or not all(isinstance(part, int) for part in value):
            self.refuse(f"has {key}={value} where two numbers are expected")
        return list(value)

    def input(self, index):
        """The name of an input, whatever it is."""
        if index >= len(self.node.inputs):
            self.refuse(f"has {len(self.node.inputs)} inputs, too few")
        source, output = self.node.inputs[index]
        if output != 0:
            self.refuse(f"uses output {output} of {self.nodes[source].name}, which is not supported")
        return self.nodes[source].name

    def tensor(self, index):
        """The name of an input that is no parameter."""
        name = self.input(index)
        if name not in self.ranks:
            self.refuse(f"uses {name}, which nothing computes")
        return name

    def rank(self):
        """How many dimensions the first input has."""
        return self.ranks[self.tensor(0)]

    def values(self, index, suffix):
        """A parameter's name and values. Old symbols leave out the statistics of BatchNorm."""
        name = self.input(index) if index < len(self.node.inputs) else f"{self.node.name}_{suffix}"
        if name not in self.params:
            self.refuse(f"needs the parameter {name}, which the params file does not have")
        return name, self.params[name]

    def param(self, index, suffix):
        return self.initializer(*self.values(index, suffix))

    def initializer(self, name, values):
        values = np.asarray(values)
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        self.initializers[name] = values
        return name

    def constant(self, suffix, values):
        return self.initializer(f"{self.node.name}_{suffix}", values)

    def add(self, op, inputs, suffix=None, **attributes):
        """An ONNX node; with a suffix, one whose output is not yet the node's."""
        output = f"{self.node.name}_{suffix}" if suffix else self.node.name
        self.made.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    # The walk.

    def convert(self, heads):
        names = {self.nodes[source].name: (source, output) for source, output in heads}
        faces = [name for name in names if FACE_OUTPUT.match(name)]
        outputs = faces or list(names)
        needed = self.behind([names[name] for name in outputs])
        for position in sorted(needed):
            self.node = self.nodes[position]
            if self.node.op != "null":
                self.convert_node()
            elif self.node.name not in self.params and self.is_data(position, needed):
                self.inputs.append(self.node.name)
                self.ranks[self.node.name] = 4
        if len(self.inputs) != 1:
            raise Refused(f"there must be one input without a parameter, not {self.inputs}")
        return self.model(outputs)

    def convert_node(self):
        if self.node.op not in OPERATORS:
            self.refuse("is no operator that is known here")
        try:
            rank = OPERATORS[self.node.op](self)
        except (TypeError, ValueError) as error:
            self.refuse(f"has settings that are not understood: {error}")
        self.ranks[self.node.name] = self.rank() if rank is None else rank

    def behind(self, heads):
        """The nodes that the outputs depend on."""
        needed, todo = set(), []
        for source, output in heads:
            if output != 0:
                raise Refused(f"output {output} of {self.nodes[source].name} is not supported")
            todo.append(source)
        while todo:
            position = todo.pop()
            if position not in needed:
                needed.add(position)
                todo += [source for source, _ in self.nodes[position].inputs]
        return needed

    def is_data(self, position, needed):
        """Whether a node uses it as its first input; labels are a second one."""
        users = (self.nodes[user] for user in needed)
        return any(node.inputs and node.inputs[0][0] == position for node in users)

    def model(self, outputs):
        def info(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        # The symbols only name sizes.
        results = [info(name, [f"{name}_{i}" for i in range(self.ranks[name])]) for name in outputs]
        graph = helper.make_graph(
            self.made,
            "mxnet",
            [info(self.inputs[0], ["n", 3, "height", "width"])],
            results,
            [numpy_helper.from_array(values, name) for name, values in self.initializers.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="convert_mxnet", opset_imports=opset)
        model.ir_version = IR_VERSION
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise Refused(f"the network contradicts itself: {error}") from error
        return model


# Operators: each adds ONNX nodes, and returns the rank of its output where it is not the first input's.
# Defaults are those of MXNet.


def window(converter):
    """The attributes that convolutions and pooling share."""
    converter.expect("layout", None, "NCHW")
    pad = converter.pair("pad", 0)
    return {
        "kernel_shape": converter.pair("kernel", None),
        "strides": converter.pair("stride", 1),
        "pads": pad + pad,
    }


def weights(converter, no_bias):
    names = [converter.tensor(0), converter.param(1, "weight")]
    return names if converter.get("no_bias", no_bias) else names + [converter.param(2, "bias")]


@operator("Convolution")
def convolution(converter):
    attributes = window(converter)
    attributes.update(dilations=converter.pair("dilate", 1), group=converter.get("num_group", 1))
    converter.add("Conv", weights(converter, no_bias=False), **attributes)


@operator("Deconvolution")
def deconvolution(converter):
    converter.expect("target_shape", None, (), (0, 0))
    attributes = window(converter)
    attributes.update(dilations=converter.pair("dilate", 1), group=converter.get("num_group", 1))
    attributes.update(output_padding=converter.pair("adj", 0))
    converter.add("ConvTranspose", weights(converter, no_bias=True), **attributes)


@operator("FullyConnected")
def fully_connected(converter):
    converter.expect("flatten", True)
    data, *others = weights(converter, no_bias=False)
    flat = converter.add("Flatten", [data], "flat", axis=1)
    converter.add("Gemm", [flat, *others], transB=1)
    return 2


@operator("BatchNorm", "BatchNorm_v1")
def batch_norm(converter):
    converter.expect("axis", 1)
    name, gamma = converter.values(1, "gamma")
    # Whatever is stored for it.
    if converter.get("fix_gamma", True):
        gamma = converter.constant("fixed_gamma", np.ones_like(gamma))
    else:
        gamma = converter.initializer(name, gamma)
    names = ["beta", "moving_mean", "moving_var"]
    others = [converter.param(index, name) for index, name in enumerate(names, 2)]
    inputs = [converter.tensor(0), gamma, *others]
    converter.add("BatchNormalization", inputs, epsilon=float(converter.get("eps", 1e-3)))


ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus"}


@operator("Activation")
def activation(converter):
    converter.expect("act_type", "relu", *ACTIVATIONS)
    converter.add(ACTIVATIONS[converter.get("act_type", "relu")], [converter.tensor(0)])


@operator("relu", "sigmoid", "tanh")
def plain_activation(converter):
    converter.add(ACTIVATIONS[converter.node.op], [converter.tensor(0)])


@operator("LeakyReLU")
def leaky_relu(converter):
    converter.expect("act_type", "leaky", "prelu", "elu")
    kind, data = converter.get("act_type", "leaky"), converter.tensor(0)
    if kind == "prelu":
        _, slope = converter.values(1, "gamma")
        # One a channel: ONNX broadcasts from the last axis.
        ones = [1] * (converter.rank() - 2)
        slope = converter.constant("slope", slope.reshape([-1, *ones]))
        converter.add("PRelu", [data, slope])
    else:
        op = "Elu" if kind == "elu" else "LeakyRelu"
        converter.add(op, [data], alpha=float(converter.get("slope", 0.25)))


@operator("Pooling", "Pooling_v1")
def pooling(converter):
    converter.expect("pool_type", "max", "avg")
    converter.expect("pooling_convention", "valid", "full")
    average = converter.get("pool_type", "max") == "avg"
    op = "AveragePool" if average else "MaxPool"
    if converter.get("global_pool", False):
        converter.add("Global" + op, [converter.tensor(0)])
        return
    attributes = window(converter)
    if converter.get("pooling_convention", "valid") == "full":
        if average:
            # Runtimes do not agree on what the last window is divided by.
            converter.refuse("averages with pooling_convention=full, which is not supported")
        attributes["ceil_mode"] = 1
    if average:
        attributes["count_include_pad"] = int(converter.get("count_include_pad", True))
    converter.add(op, [converter.tensor(0)], **attributes)


ARITHMETIC = {
    "Add": ["_Plus", "_plus", "_add", "elemwise_add", "broadcast_add", "broadcast_plus"],
    "Sub": ["_Minus", "_minus", "_sub", "elemwise_sub", "broadcast_sub", "broadcast_minus"],
    "Mul": ["_Mul", "_mul", "elemwise_mul", "broadcast_mul"],
    "Div": ["_Div", "_div", "elemwise_div", "broadcast_div"],
}
ARITHMETIC_OF = {name: op for op, names in ARITHMETIC.items() for name in names}


@operator(*ARITHMETIC_OF)
def arithmetic(converter):
    def operand(index):
        is_param = converter.input(index) in converter.params
        return converter.param(index, "") if is_param else converter.tensor(index)

    operands = [operand(0), operand(1)]
    converter.add(ARITHMETIC_OF[converter.node.op], operands)
    return max(converter.ranks.get(name, 0) for name in operands)


def all_tensors(converter):
    return [converter.tensor(index) for index in range(len(converter.node.inputs))]


@operator("ElementWiseSum", "add_n")
def element_wise_sum(converter):
    converter.add("Sum", all_tensors(converter))


# Of older and newer symbols: the ONNX operator, and whether the number comes first.
SCALAR = {}
for name, op in (("plus", "Add"), ("minus", "Sub"), ("mul", "Mul"), ("div", "Div")):
    for r in ("", "r"):
        SCALAR[f"_{r}{name}_scalar"] = SCALAR[f"_{r.upper()}{name.title()}Scalar"] = (op, bool(r))


@operator(*SCALAR)
def scalar_arithmetic(converter):
    op, reverse = SCALAR[converter.node.op]
    number = converter.constant("scalar", np.float32(converter.get("scalar", 0)))
    operands = [converter.tensor(0), number]
    converter.add(op, operands[::-1] if reverse else operands)


@operator("clip")
def clip(converter):
    bounds = {key: np.float32(float(converter.get(key))) for key in ("a_min", "a_max")}
    bounds = [converter.constant(key, value) for key, value in bounds.items()]
    converter.add("Clip", [converter.tensor(0), *bounds])


@operator("Concat", "concat")
def concat(converter):
    converter.add("Concat", all_tensors(converter), axis=converter.get("dim", 1))


@operator("UpSampling")
def up_sampling(converter):
    converter.expect("sample_type", None, "nearest")
    converter.expect("num_args", 1)
    scales = [1, 1, *converter.pair("scale", None)]
    scales = converter.constant("scales", np.array(scales, np.float32))
    converter.add(
        "Resize",
        [converter.tensor(0), "", scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def slice_to(converter, offset, size):
    """Height and width, from an offset on; the size is one that ONNX computes, or known."""
    starts = np.array(offset, np.int64)
    if isinstance(size, str):
        ends = size
        if starts.any():
            ends = converter.add("Add", [size, converter.constant("offset", starts)], "ends")
    else:
        ends = converter.constant("ends", starts + np.array(size, np.int64))
    axes = converter.constant("axes", np.array([2, 3], np.int64))
    converter.add("Slice", [converter.tensor(0), converter.constant("starts", starts), ends, axes])


def size_of(converter, tensor):
    shape = converter.add("Shape", [tensor], "shape")
    bounds = [converter.constant(f"size_{at}", np.array([at], np.int64)) for at in (2, 4)]
    return converter.add("Slice", [shape, *bounds], "size")


@operator("Crop")
def crop(converter):
    converter.expect("center_crop", False)
    like = len(converter.node.inputs) > 1
    size = size_of(converter, converter.tensor(1)) if like else converter.pair("h_w", 0)
    slice_to(converter, converter.pair("offset", 0), size)


@operator("slice_like")
def slice_like(converter):
    converter.expect("axes", (2, 3), (-2, -1))
    if "axes" not in converter.node.attributes:
        converter.refuse("cuts all axes, which is not supported")
    slice_to(converter, [0, 0], size_of(converter, converter.tensor(1)))


@operator("slice_axis")
def slice_axis(converter):
    end = converter.get("end")
    end = np.iinfo(np.int64).max if end is None else end
    values = [converter.get("begin", 0), end, converter.get("axis")]
    bounds = zip(("starts", "ends", "axes"), values)
    bounds = [converter.constant(name, np.array([value], np.int64)) for name, value in bounds]
    converter.add("Slice", [converter.tensor(0), *bounds])


@operator("transpose")
def transpose(converter):
    axes = converter.get("axes", ()) or range(converter.rank())[::-1]
    converter.add("Transpose", [converter.tensor(0)], perm=list(axes))


@operator("Reshape", "reshape")
def reshape(converter):
    converter.expect("reverse", False)
    shape = converter.get("shape", ())
    # 0 and -1 mean the same to ONNX; codes below them would move what later ones refer to.
    if not shape or min(shape) < -1:
        converter.refuse(f"has the shape {shape}, which is not supported")
    converter.add("Reshape", [converter.tensor(0), converter.constant("to", np.array(shape, np.int64))])
    return len(shape)


@operator("Flatten", "flatten")
def flatten(converter):
    converter.add("Flatten", [converter.tensor(0)], axis=1)
    return 2


def softmax_over(converter, axis):
    converter.add("Softmax", [converter.tensor(0)], axis=axis)


def softmax_of_rows(converter):
    """Over everything of an instance, which is an axis only without height and width."""
    if converter.rank() != 2:
        converter.refuse("normalises whole instances, which is not supported")
    softmax_over(converter, 1)


@operator("softmax")
def softmax(converter):
    converter.expect("temperature", None, 1.0)
    softmax_over(converter, converter.get("axis", -1))


@operator("SoftmaxActivation")
def softmax_activation(converter):
    if converter.get("mode", "instance") == "channel":
        softmax_over(converter, 1)
    else:
        softmax_of_rows(converter)


@operator("SoftmaxOutput", "Softmax")
def softmax_output(converter):
    if converter.get("multi_output", False):
        softmax_over(converter, 1)
    elif converter.get("preserve_shape", False):
        softmax_over(converter, -1)
    else:
        softmax_of_rows(converter)


@operator("Dropout", "BlockGrad", "identity", "_copy")
def identity(converter):
    converter.add("Identity", [converter.tensor(0)])


def convert(prefix, epoch):
    nodes, heads = read(f"{prefix}-symbol.json", read_symbol)
    params = read(f"{prefix}-{epoch:04}.params", read_params)
    return Converter(nodes, params).convert(heads)


def main():
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    parser.add_argument("prefix", metavar="PREFIX", help="the files' path up to -symbol.json")
    parser.add_argument("epoch", metavar="EPOCH", type=int, help="0 for PREFIX-0000.params")
    parser.add_argument("output", metavar="OUT.onnx", help="the file to write")
    arguments = parser.parse_args()
    try:
        model = convert(arguments.prefix, arguments.epoch)
        onnx.save(model, arguments.output)
    except (Refused, OSError) as error:
        sys.exit(f"convert_mxnet.py: {error}")
    print(f"{arguments.output}: {', '.join(output.name for output in model.graph.output)}")


if __name__ == "__main__":
    main()
