// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tensors in the file.

use super::invalid::Invalid;
use crate::onnx::{
    messages::{DataType, TensorProto},
    shapes::MAX_RANK,
};

/// Whether a tensor has the data that its type and shape promise, in this file.
pub fn check(tensor: &TensorProto) -> Result<(), Invalid> {
    let invalid = |why: String| Err(Invalid::tensor(tensor.name(), why));
    if tensor.is_external() {
        return invalid("its data is in another file".to_owned());
    }
    let number = tensor.data_type();
    let Some((data_type, size)) =
        DataType::try_from(number).ok().and_then(|t| Some((t, t.size()?)))
    else {
        return invalid(format!("its data type ({number}) is none that detectors have"));
    };
    if tensor.dims.len() > MAX_RANK {
        return invalid(format!("it has {} dimensions", tensor.dims.len()));
    }
    let Some(len) = tensor.element_count() else {
        return invalid(format!("its shape {:?} is impossible", tensor.dims));
    };
    let fields = [
        (tensor.float_data.len(), data_type == DataType::Float),
        (tensor.double_data.len(), data_type == DataType::Double),
        (tensor.int64_data.len(), data_type == DataType::Int64),
        (tensor.uint64_data.len(), matches!(data_type, DataType::Uint32 | DataType::Uint64)),
        (
            tensor.int32_data.len(),
            !matches!(
                data_type,
                DataType::Float
                    | DataType::Double
                    | DataType::Int64
                    | DataType::Uint32
                    | DataType::Uint64
            ),
        ),
        (tensor.string_data.len(), false),
    ];
    let raw = tensor.raw_data().len();
    let found = match fields.iter().filter(|(found, _)| *found > 0).collect::<Vec<_>>()[..] {
        [] if raw.is_multiple_of(size) => raw / size,
        [&(found, true)] if raw == 0 => found,
        _ => return invalid("its data is of another type, or there twice".to_owned()),
    };
    if found != len {
        return invalid(format!("it has {found} values, and its shape {:?} {len}", tensor.dims));
    }
    Ok(())
}
