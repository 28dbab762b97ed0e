// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reading values out of the messages, and making attributes.

use std::{collections::HashSet, fmt, ops::Range};

use prost::bytes::Bytes;

use super::messages::*;

/// A name in a file as it can be shown: without control characters, and not endless.
pub fn printable(name: &str) -> String {
    const MOST: usize = 100;
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut text: String = name.chars().take(MOST).map(shown).collect();
    if name.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}

impl ModelProto {
    /// The version of the standard operators that the network is made of.
    pub fn opset(&self) -> i64 {
        let is_standard = |opset: &&OperatorSetIdProto| matches!(opset.domain(), "" | "ai.onnx");
        let standard = self.opset_import.iter().find(is_standard);
        standard.map_or(0, OperatorSetIdProto::version)
    }
}

impl GraphProto {
    /// The inputs without the weights, which old exporters list among them.
    pub fn inputs(&self) -> Vec<&ValueInfoProto> {
        let weights: HashSet<_> = self.initializer.iter().map(TensorProto::name).collect();
        self.input.iter().filter(|input| !weights.contains(input.name())).collect()
    }

    /// All tensors in the file: initialisers, and those of nodes.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorProto> {
        let attributes = self.node.iter().flat_map(|node| &node.attribute);
        let of_nodes =
            attributes.flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
        self.initializer.iter().chain(of_nodes)
    }

    /// As [`Self::tensors`].
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut TensorProto> {
        let attributes = self.node.iter_mut().flat_map(|node| &mut node.attribute);
        let of_nodes =
            attributes.flat_map(|attribute| attribute.t.iter_mut().chain(&mut attribute.tensors));
        self.initializer.iter_mut().chain(of_nodes)
    }

    /// `name`, with underscores appended until nothing else has it.
    pub fn unique_name(&self, name: &str) -> String {
        let values = self.node.iter().flat_map(|node| &node.output).map(String::as_str);
        let tensors = self.initializer.iter().map(TensorProto::name);
        let inputs = self.input.iter().map(ValueInfoProto::name);
        let taken: HashSet<&str> = values.chain(tensors).chain(inputs).collect();
        let mut unique = name.to_owned();
        while taken.contains(unique.as_str()) {
            unique.push('_');
        }
        unique
    }

    /// Adds an initialiser under a unique name, which is returned.
    pub fn add_tensor(&mut self, name: &str, tensor: TensorProto) -> String {
        let name = self.unique_name(name);
        self.initializer.push(TensorProto { name: Some(name.clone()), ..tensor });
        name
    }
}

impl ValueInfoProto {
    /// The element type and shape, for a tensor whose rank is known.
    pub fn tensor(&self) -> Option<(i32, &[Dimension])> {
        let tensor = self.tensor_type()?;
        Some((tensor.elem_type(), tensor.shape.as_ref()?.dim.as_slice()))
    }

    /// What is known of a tensor.
    pub fn tensor_type(&self) -> Option<&TensorType> {
        match self.r#type.as_ref()?.value.as_ref()? {
            TypeValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// As [`Self::tensor_type`].
    pub fn tensor_type_mut(&mut self) -> Option<&mut TensorType> {
        match self.r#type.as_mut()?.value.as_mut()? {
            TypeValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The dimensions of a tensor whose rank is known; otherwise none.
    pub fn dimensions_mut(&mut self) -> &mut [Dimension] {
        let shape = self.tensor_type_mut().and_then(|tensor| tensor.shape.as_mut());
        shape.map_or(&mut [], |shape| &mut shape.dim)
    }

    /// Leaves the sizes of these dimensions open.
    pub fn open_dimensions(&mut self, dimensions: Range<usize>) {
        for (index, dimension) in self.dimensions_mut().iter_mut().enumerate() {
            if dimensions.contains(&index) {
                dimension.value = None;
            }
        }
    }
}

impl Dimension {
    /// The size, where it is fixed.
    pub fn size(&self) -> Option<i64> {
        match self.value {
            // Some exporters write 0 for a size that is open.
            Some(DimensionValue::Value(size)) if size > 0 => Some(size),
            _ => None,
        }
    }
}

/// The size, the name of an open size, or `?`.
impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.size()) {
            (_, Some(size)) => write!(f, "{size}"),
            (Some(DimensionValue::Param(name)), _) if !name.is_empty() => {
                f.write_str(&printable(name))
            }
            _ => f.write_str("?"),
        }
    }
}

impl DataType {
    /// The name of a data type for a message.
    pub fn name(data_type: i32) -> &'static str {
        match DataType::try_from(data_type) {
            Ok(DataType::Float) => "float",
            Ok(DataType::Uint8) => "uint8",
            Ok(DataType::Int32) => "int32",
            Ok(DataType::Int64) => "int64",
            Ok(DataType::Float16) => "float16",
            Ok(DataType::Double) => "double",
            _ => "of another type",
        }
    }

    /// Bytes of an element, where all have as many.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => 2,
            Self::Float | Self::Int32 | Self::Uint32 => 4,
            Self::Double | Self::Int64 | Self::Uint64 => 8,
            Self::Undefined | Self::String => return None,
        })
    }
}

impl AttributeProto {
    pub fn new_int(name: &str, value: i64) -> Self {
        Self {
            name: Some(name.to_owned()),
            i: Some(value),
            r#type: Some(AttributeType::Int as i32),
            ..Self::default()
        }
    }

    pub fn new_string(name: &str, value: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            s: Some(Bytes::copy_from_slice(value.as_bytes())),
            r#type: Some(AttributeType::String as i32),
            ..Self::default()
        }
    }

    pub fn new_tensor(name: &str, value: TensorProto) -> Self {
        Self {
            name: Some(name.to_owned()),
            t: Some(value),
            r#type: Some(AttributeType::Tensor as i32),
            ..Self::default()
        }
    }

    pub fn new_ints(name: &str, values: &[i64]) -> Self {
        Self {
            name: Some(name.to_owned()),
            ints: values.to_vec(),
            r#type: Some(AttributeType::Ints as i32),
            ..Self::default()
        }
    }
}

impl NodeProto {
    /// The attribute of this name, whatever its type.
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    /// Empty if there is no such attribute.
    pub fn ints(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    /// Empty if there is no such attribute.
    pub fn floats(&self, name: &str) -> &[f32] {
        self.attribute(name).map_or(&[], |attribute| &attribute.floats)
    }

    pub fn string(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?.s.as_ref()?).ok()
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// The operator, if it is one of ONNX's own; otherwise empty.
    pub fn op(&self) -> &str {
        match self.domain() {
            "" | "ai.onnx" => self.op_type(),
            _ => "",
        }
    }
}

impl TensorProto {
    /// The number of elements that `dims` gives; none if a size is negative or the product too large.
    pub fn element_count(&self) -> Option<usize> {
        self.dims.iter().try_fold(1usize, |len, &dim| len.checked_mul(usize::try_from(dim).ok()?))
    }

    /// The elements of a float tensor; none if there are not as many as `dims` gives.
    pub fn floats(&self) -> Option<Vec<f32>> {
        if !self.is(DataType::Float) {
            return None;
        }
        let len = self.element_count()?;
        match self.raw() {
            Some(raw) => elements(raw, len, f32::from_le_bytes),
            None => (self.float_data.len() == len).then(|| self.float_data.clone()),
        }
    }

    /// The elements of an integer tensor; none if there are not as many as `dims` gives.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let long = self.is(DataType::Int64);
        if !long && !self.is(DataType::Int32) {
            return None;
        }
        let len = self.element_count()?;
        let (longs, ints) = (&self.int64_data, &self.int32_data);
        match (self.raw(), long) {
            (Some(raw), true) => elements(raw, len, i64::from_le_bytes),
            (Some(raw), false) => elements(raw, len, |bytes| i32::from_le_bytes(bytes).into()),
            (None, true) => (longs.len() == len).then(|| longs.clone()),
            (None, false) => {
                (ints.len() == len).then(|| ints.iter().copied().map(i64::from).collect())
            }
        }
    }

    /// Whether the data is in a file of its own.
    pub fn is_external(&self) -> bool {
        const EXTERNAL: i32 = 1;
        self.data_location() == EXTERNAL
    }

    /// An entry on where in a file of their own the data is.
    pub fn external(&self, key: &str) -> Option<&str> {
        self.external_data
            .iter()
            .find(|entry| entry.key() == key)
            .map(StringStringEntryProto::value)
    }

    pub fn is(&self, data_type: DataType) -> bool {
        self.data_type() == data_type as i32
    }

    fn raw(&self) -> Option<&[u8]> {
        self.raw_data.as_deref().filter(|raw| !raw.is_empty())
    }
}

/// The `len` elements of raw data, which ONNX stores little-endian.
fn elements<T, const N: usize>(
    raw: &[u8],
    len: usize,
    read: impl Fn([u8; N]) -> T,
) -> Option<Vec<T>> {
    let (chunks, rest) = raw.as_chunks::<N>();
    let fits = rest.is_empty() && chunks.len() == len;
    fits.then(|| chunks.iter().map(|&chunk| read(chunk)).collect())
}
