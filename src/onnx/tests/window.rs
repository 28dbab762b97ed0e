// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::onnx::window::{Window, stride};

/// The output along one axis.
fn output(node: &NodeProto, kernel: i64, size: usize) -> Option<usize> {
    Window::new(node, &[kernel])?.output(&[size]).map(|sizes| sizes[0])
}

#[test]
fn windows_move_as_far_as_they_fit() {
    // floor((size + pads − dilation · (kernel − 1) − 1) / stride) + 1, of ONNX's Conv.
    let cases = [
        // size, kernel, stride, dilation, pads
        (224, 3, 2, 1, [1, 1], Some(112)), // (224 + 2 − 3) / 2 = 111
        (640, 7, 2, 1, [3, 3], Some(320)), // (640 + 6 − 7) / 2 = 319
        (7, 3, 1, 1, [0, 0], Some(5)),     // 7 − 3 = 4
        (7, 3, 1, 2, [0, 0], Some(3)),     // 7 − 5 = 2
        (8, 3, 2, 2, [2, 1], Some(4)),     // (8 + 3 − 5) / 2 = 3
        (8, 3, 2, 2, [0, 2], Some(3)),     // (8 + 2 − 5) / 2 = 2
        (9, 3, 4, 1, [0, 0], Some(2)),     // (9 − 3) / 4 = 1
        (1, 3, 2, 1, [1, 1], Some(1)),     // (1 + 2 − 3) / 2 = 0
        (5, 5, 3, 1, [0, 0], Some(1)),
        (4, 5, 1, 1, [1, 0], Some(1)),
        (4, 5, 1, 1, [0, 0], None),
        (4, 3, 1, 2, [0, 0], None),
    ];
    for (size, kernel, stride, dilation, pads, expected) in cases {
        let node = node("Conv", &[], "")
            .with_ints("strides", &[stride])
            .with_ints("dilations", &[dilation])
            .with_ints("pads", &pads);
        let case = format!("size {size}, kernel {kernel}, {stride}, {dilation}, {pads:?}");
        assert_eq!(output(&node, kernel, size), expected, "{case}");
    }
    // Strides and dilations are 1 and pads 0 if not given.
    assert_eq!(output(&node("Conv", &[], ""), 3, 9), Some(7));
}

#[test]
fn partial_windows_start_in_the_input() {
    let cases = [
        // size, kernel, stride, pads, rounded down, rounded up
        (6, 3, 2, [0, 0], 2, 3), // The third starts at 4.
        (5, 2, 2, [0, 0], 2, 3), // The third starts at 4.
        (4, 1, 2, [0, 0], 2, 2), // A third would start at 4.
        (3, 2, 2, [1, 1], 2, 2), // A third would start at 4, after the padding and 3 elements.
        (4, 2, 2, [1, 0], 2, 3), // The third starts at 4, in the last element.
        (4, 2, 2, [1, 1], 3, 3), // Nothing is left over.
        (7, 3, 3, [1, 1], 3, 3), // Nothing is left over.
        (8, 3, 3, [1, 1], 3, 3), // A fourth would start at 9.
        (9, 3, 3, [1, 1], 3, 4), // The fourth starts at 9.
    ];
    for (size, kernel, stride, pads, down, up) in cases {
        let node =
            node("MaxPool", &[], "").with_ints("strides", &[stride]).with_ints("pads", &pads);
        let rounded_down = output(&node.clone().with_int("ceil_mode", 0), kernel, size);
        assert_eq!(rounded_down, Some(down), "size {size}, kernel {kernel}, {stride}, {pads:?}");
        let rounded_up = output(&node.with_int("ceil_mode", 1), kernel, size);
        assert_eq!(rounded_up, Some(up), "size {size}, kernel {kernel}, {stride}, {pads:?}");
    }
}

#[test]
fn padding_may_follow_from_the_size() {
    let node = node("Conv", &[], "").with_ints("strides", &[2]);
    for (padding, size, expected) in [
        // ceil(size / stride)
        ("SAME_UPPER", 7, 4),
        ("SAME_UPPER", 8, 4),
        ("SAME_LOWER", 9, 5),
        // No padding, whatever `pads` says: (7 − 3) / 2 + 1.
        ("VALID", 7, 3),
        // (7 + 2 − 3) / 2 + 1
        ("NOTSET", 7, 4),
        // (8 + 2 − 3) / 2 + 1, rounded down.
        ("NOTSET", 8, 4),
    ] {
        let node = node.clone().with_string("auto_pad", padding).with_ints("pads", &[1, 1]);
        assert_eq!(output(&node, 3, size), Some(expected), "{padding} {size}");
    }
}

#[test]
fn each_axis_has_its_own_numbers() {
    let node = node("Conv", &[], "")
        .with_ints("strides", &[1, 2])
        .with_ints("dilations", &[2, 1])
        // Top, left, bottom, right.
        .with_ints("pads", &[1, 0, 2, 5]);
    // 10 + 3 − 5 + 1, and (20 + 5 − 5) / 2 + 1.
    assert_eq!(Window::new(&node, &[3, 5]).unwrap().output(&[10, 20]), Some(vec![9, 11]));
    assert_eq!(Window::new(&node, &[3, 5]).unwrap().output(&[10]), None);
    assert_eq!([0, 1, 2].map(|axis| stride(&node, axis)), [Some(1), Some(2), Some(1)]);
}

#[test]
fn attributes_that_make_no_sense_are_refused() {
    let conv = || node("Conv", &[], "");
    let refused = [
        (conv().with_ints("strides", &[0]), 3),
        (conv().with_ints("strides", &[-1]), 3),
        (conv().with_ints("pads", &[-1, 0]), 3),
        (conv().with_ints("pads", &[0, -1]), 3),
        (conv().with_ints("dilations", &[-1]), 3),
        (conv().with_ints("dilations", &[0]), 3),
        (conv(), 0),
        (conv(), -3),
    ];
    for (node, kernel) in refused {
        assert!(Window::new(&node, &[kernel]).is_none(), "{node:?}");
    }
    let overflowing = [
        (conv().with_ints("pads", &[i64::MAX, i64::MAX]), 3),
        (conv().with_ints("dilations", &[i64::MAX]), 4),
        (conv().with_ints("dilations", &[i64::MAX]), i64::MAX),
    ];
    for (node, kernel) in overflowing {
        assert_eq!(output(&node, kernel, usize::MAX / 2), None, "{node:?}");
    }
    let node = conv().with_ints("strides", &[i64::MAX]).with_int("ceil_mode", 1);
    assert_eq!(output(&node, 1, usize::MAX), Some(3));
}

#[test]
fn pointwise_windows_are_one_element_at_every_element() {
    let pointwise = |node: NodeProto, kernel: [i64; 2]| {
        Window::new(&node, &kernel).expect("a window").is_pointwise()
    };
    let conv = || node("Conv", &[], "");
    assert!(pointwise(conv(), [1, 1]));
    assert!(pointwise(
        conv().with_ints("strides", &[1, 1]).with_ints("dilations", &[2, 2]),
        [1, 1]
    ));
    assert!(!pointwise(conv(), [1, 3]));
    assert!(!pointwise(conv(), [3, 1]));
    assert!(!pointwise(conv().with_ints("strides", &[1, 2]), [1, 1]));
    assert!(!pointwise(conv().with_ints("pads", &[0, 0, 0, 1]), [1, 1]));
    assert!(!pointwise(conv().with_ints("pads", &[1, 0, 0, 0]), [1, 1]));
}
