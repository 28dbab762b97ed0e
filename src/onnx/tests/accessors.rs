// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn raw(data_type: DataType, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto {
        dims: dims.into(),
        data_type: Some(data_type as i32),
        raw_data: Some(Bytes::copy_from_slice(bytes)),
        ..TensorProto::default()
    }
}

#[test]
fn floats_are_read_from_both_encodings() {
    assert_eq!(floats("", &[2], &[1.5, -2.0]).floats(), Some(vec![1.5, -2.0]));
    // IEEE 754 single precision, little-endian: 1.0 is 0x3f800000, -2.0 is 0xc0000000.
    let bytes = [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0];
    assert_eq!(raw(DataType::Float, &[1, 2], &bytes).floats(), Some(vec![1.0, -2.0]));
    // Empty raw data is as good as none.
    let both = TensorProto { raw_data: Some(Bytes::new()), ..floats("", &[1], &[3.0]) };
    assert_eq!(both.floats(), Some(vec![3.0]));
    assert_eq!(floats("", &[0], &[]).floats(), Some(vec![]));
}

#[test]
fn floats_must_be_as_many_as_the_shape_says() {
    for dims in [&[3][..], &[1], &[2, 2], &[-2], &[]] {
        assert_eq!(floats("", dims, &[1.5, -2.0]).floats(), None, "{dims:?}");
        assert_eq!(raw(DataType::Float, dims, &[0; 8]).floats(), None, "{dims:?}");
    }
    for bytes in [7, 9, 11] {
        assert_eq!(raw(DataType::Float, &[2], &vec![0; bytes]).floats(), None, "{bytes} bytes");
    }
    assert_eq!(raw(DataType::Int32, &[2], &[0; 8]).floats(), None);
    assert_eq!(list("", &[1]).floats(), None);
}

#[test]
fn integers_are_read_from_all_encodings() {
    assert_eq!(list("", &[7, -1]).integers(), Some(vec![7, -1]));
    let ints = TensorProto {
        dims: vec![2],
        data_type: Some(DataType::Int32 as i32),
        int32_data: vec![5, -6],
        ..TensorProto::default()
    };
    assert_eq!(ints.integers(), Some(vec![5, -6]));
    // 256 + 2, and -2 as two's complement.
    let long = [2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(raw(DataType::Int64, &[1], &long).integers(), Some(vec![258]));
    let int = [2, 1, 0, 0, 0xfe, 0xff, 0xff, 0xff];
    assert_eq!(raw(DataType::Int32, &[2], &int).integers(), Some(vec![258, -2]));
}

#[test]
fn integers_must_be_as_many_as_the_shape_says() {
    assert_eq!(integers("", &[3], &[1, 2]).integers(), None);
    assert_eq!(raw(DataType::Int64, &[1], &[0; 4]).integers(), None);
    assert_eq!(raw(DataType::Int64, &[1], &[0; 16]).integers(), None);
    assert_eq!(raw(DataType::Int32, &[1], &[0; 8]).integers(), None);
    let ints = TensorProto {
        dims: vec![3],
        data_type: Some(DataType::Int32 as i32),
        int32_data: vec![5, -6],
        ..TensorProto::default()
    };
    assert_eq!(ints.integers(), None);
    assert_eq!(floats("", &[1], &[1.0]).integers(), None);
}

#[test]
fn elements_are_counted() {
    assert_eq!(weights("", &[]).element_count(), Some(1));
    assert_eq!(weights("", &[2, 3, 4]).element_count(), Some(24));
    assert_eq!(weights("", &[2, 0]).element_count(), Some(0));
    assert_eq!(weights("", &[2, -1]).element_count(), None);
    assert_eq!(weights("", &[1 << 32, 1 << 32]).element_count(), None);
}

#[test]
fn dimensions_are_fixed_or_open() {
    let dimension = |value| Dimension { value, denotation: None };
    let param = |name: &str| dimension(Some(DimensionValue::Param(name.into())));
    let value = |size| dimension(Some(DimensionValue::Value(size)));
    let cases = [
        (value(7), Some(7), "7"),
        (value(1), Some(1), "1"),
        (value(0), None, "?"),
        (value(-1), None, "?"),
        (param("height"), None, "height"),
        (param(""), None, "?"),
        (dimension(None), None, "?"),
    ];
    for (dimension, size, text) in cases {
        assert_eq!((dimension.size(), dimension.to_string().as_str()), (size, text));
    }
}

#[test]
fn a_value_is_a_tensor_of_known_rank_or_none() {
    let value = |value| ValueInfoProto {
        r#type: Some(TypeProto { value, denotation: None }),
        ..ValueInfoProto::default()
    };
    let shape = TensorShapeProto { dim: vec![Dimension::default(); 2] };
    let tensor = TensorType { elem_type: Some(7), shape: Some(shape) };
    let unknown = TensorType { elem_type: Some(7), shape: None };
    let known = value(Some(TypeValue::Tensor(tensor)));
    assert_eq!(known.tensor().map(|(data_type, dims)| (data_type, dims.len())), Some((7, 2)));
    assert!(value(Some(TypeValue::Tensor(unknown))).tensor().is_none());
    assert!(value(Some(TypeValue::Sequence(Bytes::new()))).tensor().is_none());
    assert!(value(None).tensor().is_none());
    assert!(ValueInfoProto::default().tensor().is_none());
}

#[test]
fn data_types_have_names() {
    // Numbers of onnx.proto's TensorProto.DataType.
    let names = [(1, "float"), (2, "uint8"), (6, "int32"), (7, "int64"), (10, "float16")];
    for (number, name) in names.into_iter().chain([(11, "double"), (16, "of another type")]) {
        assert_eq!(DataType::name(number), name);
    }
    assert!(list("", &[]).is(DataType::Int64) && !list("", &[]).is(DataType::Int32));
}

#[test]
fn attributes_are_found_by_name() {
    let node = node("Resize", &[], "y")
        .with_int("axis", 3)
        .with_ints("pads", &[1, 2])
        .with_string("mode", "linear")
        .with_float("alpha", 0.5);
    assert_eq!((node.int("axis"), node.int("pads"), node.int("other")), (Some(3), None, None));
    assert_eq!((node.ints("pads"), node.ints("other")), (&[1, 2][..], &[][..]));
    assert_eq!((node.string("mode"), node.string("axis")), (Some("linear"), None));
    assert_eq!((node.float("alpha"), node.float("axis")), (Some(0.5), None));
    assert!(node.tensor("axis").is_none());
    assert_eq!(constant(list("", &[4]), "y").tensor("value"), Some(&list("", &[4])));
    // Numbers of onnx.proto's AttributeProto.AttributeType.
    let types: Vec<_> = node.attribute[..3].iter().map(|attribute| attribute.r#type).collect();
    assert_eq!(types, [Some(2), Some(7), Some(3)]);
}

#[test]
fn only_operators_of_onnx_are_known() {
    let domain = |domain: &str| NodeProto { domain: Some(domain.into()), ..node("Conv", &[], "") };
    assert_eq!(domain("").op(), "Conv");
    assert_eq!(domain("ai.onnx").op(), "Conv");
    assert_eq!(domain("com.microsoft").op(), "");
    assert_eq!(node("Conv", &[], "").op(), "Conv");
}
