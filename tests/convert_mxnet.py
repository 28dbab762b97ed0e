# SPDX-License-Identifier: MIT OR Apache-2.0
"""models/convert_mxnet.py on checkpoints written here, against MXNet's operators in NumPy: run by
tests/convert_mxnet.rs.

    convert_mxnet.py FOLDER        writes detector.onnx there too
"""

import contextlib
import io
import json
import os
import pathlib
import struct
import sys
import unittest

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

FOLDER = pathlib.Path(sys.argv.pop(1))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "models"))
import convert_mxnet

RANDOM = np.random.default_rng(1)


def values(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


# What MXNet's documentation says of its operators. Arrays are NCHW, settings are numbers.


def windows(x, kernel, stride=1, pad=0, dilate=1, fill=0.0, full=False):
    """[n, c, rows, columns, kernel, kernel]"""
    extent = dilate * (kernel - 1) + 1
    sizes = [(size + 2 * pad - extent) / stride for size in x.shape[2:]]
    counts = [int(np.ceil(size) if full else np.floor(size)) + 1 for size in sizes]
    # Beyond the padding too, where the last window of `full` may reach.
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad + stride), (pad, pad + stride)), constant_values=fill)
    rows, columns = (
        (stride * np.arange(count))[:, None] + dilate * np.arange(kernel) for count in counts
    )
    return x[:, :, rows[:, None, :, None], columns[None, :, None, :]]


def convolution(x, weight, bias=None, group=1, **settings):
    found = windows(x, weight.shape[-1], **settings)
    parts = zip(np.split(found, group, 1), np.split(weight, group, 0))
    result = np.concatenate([np.einsum("ncrskl,mckl->nmrs", *part) for part in parts], 1)
    return result if bias is None else result + bias[:, None, None]


def deconvolution(x, weight, stride, pad):
    """Each value adds the kernel, times itself."""
    (n, _, height, width), (_, out, kernel, _) = x.shape, weight.shape
    result = np.zeros((n, out, stride * (height - 1) + kernel, stride * (width - 1) + kernel))
    for row in range(height):
        for column in range(width):
            added = np.einsum("nc,cmkl->nmkl", x[:, :, row, column], weight)
            place = np.s_[stride * row : stride * row + kernel, stride * column : stride * column + kernel]
            result[(slice(None), slice(None), *place)] += added
    return result[:, :, pad:-pad, pad:-pad]


def batch_norm(x, gamma, beta, mean, variance, eps):
    gamma, beta, mean, variance = (v[:, None, None] for v in (gamma, beta, mean, variance))
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def upsample(x, scale):
    return x.repeat(scale, 2).repeat(scale, 3)


# Checkpoints.


class Symbol:
    """Nodes in the order in which they are added, as in symbol.json."""

    def __init__(self, key="attrs"):
        self.key = key
        self.nodes = [{"op": "null", "name": "data", "inputs": []}]
        self.positions = {"data": 0}
        self.params = {}

    def add(self, op, name, inputs, **attributes):
        node = {"op": op, "name": name, "inputs": [[self.positions[i], 0, 0] for i in inputs]}
        if attributes:
            node[self.key] = {key: str(value) for key, value in attributes.items()}
        self.positions[name] = len(self.nodes)
        self.nodes.append(node)
        return name

    def param(self, name, array, aux=False):
        self.params[("aux:" if aux else "arg:") + name] = array
        # Nodes of parameters have attributes that mean nothing here.
        return self.add("null", name, [], __shape__=f"({', '.join(f'{n}L' for n in array.shape)},)")

    def json(self, *outputs):
        heads = [[self.positions[name], 0, 0] for name in outputs]
        return json.dumps({"nodes": self.nodes, "arg_nodes": [0], "heads": heads})


def array_bytes(array, version):
    shape = array.shape
    wide = struct.pack(f"<I{len(shape)}q", len(shape), *shape)
    head = {
        0: struct.pack(f"<I{len(shape)}I", len(shape), *shape),
        1: struct.pack("<I", 0xF993FAC8) + wide,
        2: struct.pack("<Ii", 0xF993FAC9, 0) + wide,
        3: struct.pack("<Ii", 0xF993FACA, 0) + wide,
    }[version]
    flag = {"float32": 0, "float64": 1, "float16": 2}[array.dtype.name]
    return head + struct.pack("<iii", 2, 1, flag) + array.tobytes()


def params_bytes(params, version=2):
    data = struct.pack("<QQQ", 0x112, 0, len(params))
    data += b"".join(array_bytes(array, version) for array in params.values())
    data += struct.pack("<Q", len(params))
    return data + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in params)


def write(symbol, outputs, version=2, name="net"):
    prefix = FOLDER / name
    prefix.with_name(f"{name}-symbol.json").write_text(symbol.json(*outputs))
    prefix.with_name(f"{name}-0007.params").write_bytes(params_bytes(symbol.params, version))
    return str(prefix)


def converted(symbol, outputs, version=2):
    return convert_mxnet.convert(write(symbol, outputs, version), 7)


def run(model, x):
    names = [output.name for output in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x})))


class OneOperator(unittest.TestCase):
    """Each on a picture of an odd size."""

    def setUp(self):
        self.x = values(1, 3, 11, 14)

    def check(self, op, expected, params=(), data="data", symbol=None, **attributes):
        symbol = symbol or Symbol()
        inputs = [symbol.param(f"node_{name}", array) for name, array in params]
        symbol.add(op, "node", [data, *inputs], **attributes)
        result = run(converted(symbol, ["node"]), self.x)["node"]
        self.assertEqual(result.shape, expected.shape, (op, attributes))
        np.testing.assert_allclose(result, expected, atol=1e-4, err_msg=f"{op} {attributes}")

    def test_convolution(self):
        weight, bias = values(6, 1, 3, 3), values(6)
        expected = convolution(self.x, weight, bias, group=3, stride=2, pad=2, dilate=2)
        settings = {"kernel": "(3, 3)", "stride": "(2, 2)", "pad": "(2L, 2L)", "dilate": "(2, 2)"}
        params = [("weight", weight), ("bias", bias)]
        self.check("Convolution", expected, params, num_group=3, num_filter=6, **settings)
        weight = values(5, 3, 1, 1)
        expected = convolution(self.x, weight)
        self.check("Convolution", expected, [("weight", weight)], kernel="(1, 1)", no_bias=True)

    def test_deconvolution(self):
        weight = values(3, 2, 4, 4)
        expected = deconvolution(self.x, weight, stride=2, pad=1)
        settings = {"kernel": "(4, 4)", "stride": "(2, 2)", "pad": "(1, 1)"}
        self.check("Deconvolution", expected, [("weight", weight)], num_filter=2, **settings)

    def test_batch_norm(self):
        arrays = [values(3), values(3), values(3), np.abs(values(3)) + 0.1]
        params = list(zip(("gamma", "beta", "moving_mean", "moving_var"), arrays))
        expected = batch_norm(self.x, *arrays, eps=0.5)
        self.check("BatchNorm", expected, params, fix_gamma=False, eps=0.5)
        expected = batch_norm(self.x, np.ones(3), *arrays[1:], eps=1e-3)
        self.check("BatchNorm", expected, params)

    def test_old_batch_norm(self):
        """Symbols of MXNet 0.8 name no statistics, and have their settings elsewhere."""
        arrays = [values(3), values(3), values(3), np.abs(values(3)) + 0.1]
        symbol = Symbol(key="param")
        symbol.params = {"aux:node_moving_mean": arrays[2], "aux:node_moving_var": arrays[3]}
        params = [("gamma", arrays[0]), ("beta", arrays[1])]
        expected = batch_norm(self.x, *arrays, eps=2e-5)
        self.check("BatchNorm", expected, params, symbol=symbol, fix_gamma=False, eps=2e-5)

    def test_activations(self):
        x = self.x.astype(np.float64)
        sigmoid = 1 / (1 + np.exp(-x))
        self.check("Activation", np.maximum(x, 0), act_type="relu")
        self.check("Activation", sigmoid, act_type="sigmoid")
        self.check("sigmoid", sigmoid)
        self.check("Activation", np.tanh(x), act_type="tanh")
        self.check("Activation", np.log1p(np.exp(x)), act_type="softrelu")
        self.check("LeakyReLU", np.where(x > 0, x, 0.25 * x))
        self.check("LeakyReLU", np.where(x > 0, x, 0.1 * x), act_type="leaky", slope=0.1)
        self.check("LeakyReLU", np.where(x > 0, x, 2 * np.expm1(x)), act_type="elu", slope=2)
        gamma = values(3)
        expected = np.where(x > 0, x, gamma[:, None, None] * x)
        self.check("LeakyReLU", expected, [("gamma", gamma)], act_type="prelu")

    def test_pooling(self):
        settings = {"kernel": "(3, 3)", "stride": "(2, 2)"}
        expected = windows(self.x, 3, 2, pad=1, fill=-np.inf).max((4, 5))
        self.check("Pooling", expected, pad="(1, 1)", **settings)
        expected = windows(self.x, 3, 2, fill=-np.inf, full=True).max((4, 5))
        self.check("Pooling", expected, pooling_convention="full", **settings)
        expected = windows(self.x, 3, 2, pad=1).mean((4, 5))
        self.check("Pooling", expected, pad="(1, 1)", pool_type="avg", **settings)
        expected = np.nanmean(windows(self.x, 3, 2, pad=1, fill=np.nan), (4, 5))
        excluding = {"pool_type": "avg", "count_include_pad": False}
        self.check("Pooling", expected, pad="(1, 1)", **excluding, **settings)
        expected = self.x.mean((2, 3), keepdims=True)
        self.check("Pooling", expected, global_pool=True, pool_type="avg", kernel="(7, 7)")
        self.check("Pooling", self.x.max((2, 3), keepdims=True), global_pool=True)

    def test_arithmetic(self):
        x, other = self.x, values(1, 3, 1, 1) + 5
        for names, expected in (
            (("elemwise_add", "_Plus", "_plus", "broadcast_add"), x + other),
            (("elemwise_sub", "_Minus", "broadcast_sub"), x - other),
            (("elemwise_mul", "_Mul", "broadcast_mul"), x * other),
            (("elemwise_div", "_Div", "broadcast_div"), x / other),
        ):
            for name in names:
                self.check(name, expected, [("other", other)])
        for names, expected in (
            (("_plus_scalar", "_PlusScalar"), x + 3),
            (("_minus_scalar", "_MinusScalar"), x - 3),
            (("_rminus_scalar", "_RMinusScalar"), 3 - x),
            (("_mul_scalar", "_MulScalar"), x * 3),
            (("_div_scalar", "_DivScalar"), x / 3),
        ):
            for name in names:
                self.check(name, expected, scalar=3)
        self.x = np.abs(x) + 1
        self.check("_rdiv_scalar", 3 / self.x, scalar=3)

    def test_sums_and_joins(self):
        for op, expected in (
            ("ElementWiseSum", 3 * self.x),
            ("Concat", np.concatenate([self.x] * 3, 1)),
        ):
            symbol = Symbol()
            symbol.add(op, "node", ["data"] * 3, num_args=3)
            np.testing.assert_allclose(run(converted(symbol, ["node"]), self.x)["node"], expected, 1e-6)
        self.check("Concat", np.concatenate([self.x], 2), dim=2, num_args=1)

    def test_shapes(self):
        x = self.x
        self.check("slice_axis", x[:, 1:], axis=1, begin=1, end=None)
        self.check("slice_axis", x[:, :, 2:9], axis=2, begin=2, end=9)
        self.check("transpose", x.transpose(0, 2, 3, 1), axes="(0, 2, 3, 1)")
        self.check("transpose", x.T)
        self.check("clip", x.clip(-0.5, 0.25), a_min=-0.5, a_max=0.25)
        self.check("Flatten", x.reshape(1, -1))
        self.check("Reshape", x.reshape(1, 1, 33, 14), shape="(0, 1, -1, 0)")
        self.check("Crop", x[:, :, 2:7, 3:9], offset="(2, 3)", h_w="(5, 6)", num_args=1)
        self.check("Dropout", x, p=0.5)

    def test_cut_to_another_size(self):
        for op, attributes, (top, left) in (
            ("Crop", {"num_args": 2}, (0, 0)),
            ("Crop", {"num_args": 2, "offset": "(1, 2)"}, (1, 2)),
            ("slice_like", {"axes": "(2, 3)"}, (0, 0)),
        ):
            symbol = Symbol()
            symbol.add("Pooling", "small", ["data"], kernel="(4, 4)", stride="(2, 2)")
            symbol.add(op, "node", ["data", "small"], **attributes)
            height, width = windows(self.x, 4, 2).shape[2:4]
            expected = self.x[:, :, top : top + height, left : left + width]
            np.testing.assert_array_equal(run(converted(symbol, ["node"]), self.x)["node"], expected)

    def test_softmax(self):
        self.check("SoftmaxActivation", softmax(self.x, 1), mode="channel")
        self.check("softmax", softmax(self.x, 3))
        self.check("softmax", softmax(self.x, 2), axis=2)
        self.check("SoftmaxOutput", softmax(self.x, 1), [], multi_output=True)
        flat = self.x.reshape(1, -1)
        for op in ("SoftmaxActivation", "SoftmaxOutput"):
            symbol = Symbol()
            symbol.add("Flatten", "flat", ["data"])
            self.check(op, softmax(flat, 1), data="flat", symbol=symbol)

    def test_fully_connected(self):
        weight, bias = values(5, self.x.size), values(5)
        expected = self.x.reshape(1, -1) @ weight.T
        params = [("weight", weight), ("bias", bias)]
        self.check("FullyConnected", expected + bias, params, num_hidden=5)
        self.check("FullyConnected", expected, params[:1], num_hidden=5, no_bias=True)


def detector():
    """A pyramid of two levels with the heads of InsightFace's networks, and what they compute."""
    symbol, weights = Symbol(), {}

    def conv(name, source, channels, out, kernel=3, stride=1):
        weights[name] = 0.1 * values(out, channels, kernel, kernel), values(out)
        params = [symbol.param(f"{name}_{p}", w) for p, w in zip(("weight", "bias"), weights[name])]
        settings = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "pad": (kernel // 2,) * 2}
        return symbol.add("Convolution", name, [source, *params], num_filter=out, **settings)

    fine = conv("fine", conv("stem", "data", 3, 4, stride=4), 4, 4, stride=4)
    coarse = conv("coarse", fine, 4, 4, stride=2)
    up = symbol.add("UpSampling", "up", [coarse], scale=2, sample_type="nearest", num_args=1)
    crop = symbol.add("Crop", "crop", [up, fine], num_args=2)
    outputs = []
    for stride, source in ((32, coarse), (16, symbol.add("_Plus", "sum", [fine, crop]))):
        score = conv(f"face_rpn_cls_score_stride{stride}", source, 4, 4, kernel=1)
        shape = symbol.add("Reshape", f"score_reshape_{stride}", [score], shape=(0, 2, -1, 0))
        prob = symbol.add("SoftmaxActivation", f"prob_{stride}", [shape], mode="channel")
        outputs.append(f"face_rpn_cls_prob_reshape_stride{stride}")
        symbol.add("Reshape", outputs[-1], [prob], shape=(0, 4, -1, 0))
        for kind, out in (("bbox", 8), ("landmark", 20)):
            outputs.append(conv(f"face_rpn_{kind}_pred_stride{stride}", source, 4, out, kernel=1))
    # Of no use to decoding, and with a label.
    symbol.add("null", "label", [])
    symbol.add("SoftmaxOutput", "loss", ["sum", "label"], multi_output=True)

    def reference(x):
        def conv(name, x, stride=1):
            return convolution(x, *weights[name], stride=stride, pad=weights[name][0].shape[-1] // 2)

        fine = conv("fine", conv("stem", x, 4), 4)
        coarse = conv("coarse", fine, 2)
        height, width = fine.shape[2:]
        found = {}
        for stride, source in (
            (32, coarse),
            (16, fine + upsample(coarse, 2)[:, :, :height, :width]),
        ):
            score = conv(f"face_rpn_cls_score_stride{stride}", source)
            paired = softmax(score.reshape(1, 2, -1, score.shape[3]), 1)
            found[f"face_rpn_cls_prob_reshape_stride{stride}"] = paired.reshape(score.shape)
            for kind in ("bbox", "landmark"):
                name = f"face_rpn_{kind}_pred_stride{stride}"
                found[name] = conv(name, source)
        return found

    return symbol, [*outputs, "loss"], reference


class Detector(unittest.TestCase):
    def test_every_format_of_arrays(self):
        symbol, outputs, reference = detector()
        for version in range(4):
            for size in ((48, 80), (77, 50)):
                x = values(1, 3, *size)
                found, expected = run(converted(symbol, outputs, version), x), reference(x)
                self.assertEqual(sorted(found), sorted(expected))
                for name, array in expected.items():
                    np.testing.assert_allclose(found[name], array, atol=1e-4, err_msg=name)

    def test_other_element_types(self):
        symbol, outputs, reference = detector()
        for dtype in (np.float16, np.float64):
            symbol.params = {name: array.astype(dtype) for name, array in symbol.params.items()}
            x = values(1, 3, 48, 48)
            found = run(converted(symbol, outputs), x)
            for name, array in reference(x).items():
                np.testing.assert_allclose(found[name], array, atol=0.05, err_msg=name)

    def test_command(self):
        symbol, outputs, _ = detector()
        prefix = write(symbol, outputs, name="detector")
        sys.argv[1:] = [prefix, "7", f"{prefix}.onnx"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            convert_mxnet.main()
        self.assertIn("face_rpn_landmark_pred_stride16", printed.getvalue())
        self.assertNotIn("loss", printed.getvalue())


class Originals(unittest.TestCase):
    """MXNet's files of networks that were converted by other means, where both are at hand."""

    def test_same_outputs(self):
        beside = pathlib.Path(__file__).resolve().parent.parent.parent / "shared"
        folder = pathlib.Path(os.environ.get("RETINAFACE_SHARED", beside)) / "models"
        x = 255 * RANDOM.random((1, 3, 77, 110), np.float32)
        for symbol in folder.glob("*-symbol.json"):
            prefix = str(symbol).removesuffix("-symbol.json")
            original = onnx.load(f"{prefix}.onnx")
            # The evaluator trains BatchNormalization of lower versions.
            original.opset_import[0].version = convert_mxnet.OPSET
            expected = run(original, x)
            found = run(convert_mxnet.convert(prefix, 0), x)
            self.assertEqual(sorted(found), sorted(expected))
            for name, array in expected.items():
                np.testing.assert_allclose(found[name], array, atol=1e-3, err_msg=f"{prefix} {name}")


class Refusals(unittest.TestCase):
    def refuse(self, symbol, text, params=None):
        prefix = write(symbol, ["node"])
        if params is not None:
            pathlib.Path(f"{prefix}-0007.params").write_bytes(params)
        with self.assertRaises(convert_mxnet.Refused) as refused:
            convert_mxnet.convert(prefix, 7)
        self.assertIn(text, str(refused.exception))

    def test_operators(self):
        for op, inputs, attributes, text in (
            ("ROIPooling", ["data"], {}, "the node node (ROIPooling) is no operator"),
            ("Convolution", ["data"], {"kernel": "(3, 3)"}, "needs the parameter node_weight"),
            ("Pooling", ["data"], {"pool_type": "sum"}, "pool_type=sum"),
            ("Pooling", ["data"], {"kernel": "(3, 3, 3)"}, "two numbers"),
            ("Pooling", ["data"], {}, "kernel"),
            ("Reshape", ["data"], {"shape": "(-3, 0)"}, "has the shape (-3, 0)"),
            ("UpSampling", ["data"], {"scale": 2, "sample_type": "bilinear"}, "sample_type=bilinear"),
            ("UpSampling", ["data"], {}, "scale"),
            ("clip", ["data"], {"a_min": 0}, "not understood"),
            ("SoftmaxActivation", ["data"], {}, "whole instances"),
            ("elemwise_add", ["data"], {}, "too few"),
        ):
            symbol = Symbol()
            symbol.add(op, "node", inputs, **attributes)
            with self.subTest(op, **attributes):
                self.refuse(symbol, text)

    def test_networks(self):
        symbol = Symbol()
        symbol.add("Crop", "node", ["data"], h_w="(5, 6)", num_args=1)
        symbol.nodes[-1]["name"] = "data"
        self.refuse(symbol, "contradicts itself")
        symbol = Symbol()
        symbol.add("null", "other", [])
        symbol.add("Concat", "node", ["data", "other"])
        self.refuse(symbol, "other, which nothing computes")
        symbol = Symbol()
        symbol.add("Dropout", "many", ["data"])
        symbol.add("relu", "node", ["many"])
        symbol.nodes[-1]["inputs"] = [[1, 1, 0]]
        self.refuse(symbol, "output 1 of many")

    def test_files(self):
        symbol = Symbol()
        symbol.add("relu", "node", ["data"])
        whole = params_bytes({"arg:weight": values(2, 3)})
        for end in range(len(whole)):
            self.refuse(symbol, "params: it", whole[:end])
        for damage, text in (
            (b"PK" + whole[2:], "no list of MXNet's arrays"),
            (whole[:28] + struct.pack("<i", 1) + whole[32:], "sparse"),
            (whole[:32] + struct.pack("<I", 1000) + whole[36:], "1000 dimensions"),
            (whole[:36] + struct.pack("<q", -1) + whole[44:], "shape"),
            (whole[:36] + struct.pack("<q", 1 << 62) + whole[44:], "ends too soon"),
            (whole[:60] + struct.pack("<i", 99) + whole[64:], "element type 99"),
        ):
            self.refuse(symbol, text, damage)
        prefix = write(symbol, ["node"])
        with self.assertRaisesRegex(convert_mxnet.Refused, "cannot read .*-0008.params"):
            convert_mxnet.convert(prefix, 8)
        for text in ("", "{}", "[]", '{"nodes": [], "heads": []}', '{"nodes": [1], "heads": []}'):
            pathlib.Path(f"{prefix}-symbol.json").write_text(text)
            with self.assertRaisesRegex(convert_mxnet.Refused, "symbol.json: it"):
                convert_mxnet.convert(prefix, 7)


if __name__ == "__main__":
    unittest.main()
