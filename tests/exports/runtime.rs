// SPDX-License-Identifier: MIT OR Apache-2.0

//! ONNX Runtime by itself.

use std::collections::HashMap;

use gstretinaface::inference::environment;
use ort::{
    memory::Allocator,
    session::Session,
    value::{Tensor, ValueRef},
};

/// A tensor of floats.
pub struct Array {
    pub shape: Vec<i64>,
    pub values: Vec<f32>,
}

/// The outputs of a network by name.
pub fn run(file: &[u8], input: &str, value: &Array) -> HashMap<String, Array> {
    let environment = environment(|_, _| ()).expect("ONNX Runtime");
    let mut builder = Session::builder(environment).expect("a session builder");
    let mut session = builder.commit_from_memory(file).expect("ONNX Runtime takes the file");
    let shape = value.shape.as_slice();
    let mut tensor = Tensor::<f32>::new(&Allocator::default(), shape).expect("a tensor");
    tensor.extract_tensor_mut().1.copy_from_slice(&value.values);
    let outputs = session.run(ort::inputs![input => tensor]).expect("it runs");
    let output = |(name, value): (&str, ValueRef<'_>)| {
        let (shape, values) = value.try_extract_tensor::<f32>().expect("floats");
        (name.to_owned(), Array { shape: shape.to_vec(), values: values.to_vec() })
    };
    outputs.iter().map(output).collect()
}
