// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reading a network's file, and the files beside it that weights may be in.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use prost::Message;
use prost::bytes::Bytes;

use crate::onnx::{
    accessors::printable,
    messages::{DataType, ModelProto, TensorProto},
};

/// No ONNX file is larger: its format, protocol buffers, does not allow it.
const MAX_BYTES: u64 = (1 << 31) - 1;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is {0} and not a file")]
    NoFile(&'static str),
    #[error("it has {0} bytes, and ONNX files have less than 2 GiB")]
    TooLarge(u64),
    #[error("it changed while it was read, or there is not enough memory for its {0} bytes")]
    Incomplete(u64),
    #[error(
        "its weights are in the file {file}, which cannot be used: {why}. Weights may be in files in \
         the network's own folder"
    )]
    Weights { file: String, why: String },
}

/// Reads a network, with its weights put into it where they are in files of their own.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let bytes = Bytes::from(read_file(path)?);
    // What is no network is recognised later.
    let Ok(mut model) = ModelProto::decode(bytes.clone()) else { return Ok(bytes.into()) };
    let Some(graph) = &mut model.graph else { return Ok(bytes.into()) };
    if !graph.tensors().any(TensorProto::is_external) {
        return Ok(bytes.into());
    }
    let mut left = MAX_BYTES.saturating_sub(bytes.len() as u64);
    for tensor in graph.tensors_mut().filter(|tensor| tensor.is_external()) {
        let location = tensor.external("location").unwrap_or_default();
        let data = read_weights(path, tensor, &mut left)
            .map_err(|why| FileError::Weights { file: printable(location), why })?;
        tensor.raw_data = Some(data.into());
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(model.encode_to_vec())
}

/// The whole of a regular file.
fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, len) = open(path)?;
    if len > MAX_BYTES {
        return Err(FileError::TooLarge(len));
    }
    let mut bytes = Vec::new();
    // One more, to notice when there is more.
    let reserved = bytes.try_reserve_exact(len as usize + 1);
    reserved.map_err(|_| FileError::Incomplete(len))?;
    file.take(len + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        return Err(FileError::Incomplete(len));
    }
    Ok(bytes)
}

/// Opens a regular file; anything else may never end, or never begin.
fn open(path: &Path) -> Result<(File, u64), FileError> {
    let check = |found: FileType| {
        let kind = match found {
            found if found.is_file() => return Ok(()),
            found if found.is_dir() => "a folder",
            found if found.is_fifo() => "a named pipe",
            found if found.is_socket() => "a socket",
            _ => "a device",
        };
        Err(FileError::NoFile(kind))
    };
    // Before it is opened, because devices may do something then; and after, because another may
    // have taken its place: opening does not wait for a pipe's other end.
    check(fs::metadata(path)?.file_type())?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    check(metadata.file_type())?;
    Ok((file, metadata.len()))
}

/// The data of a tensor of the network at `path` that is in another file. `left` is how much there may
/// be, less what is read.
fn read_weights(path: &Path, tensor: &TensorProto, left: &mut u64) -> Result<Vec<u8>, String> {
    let size = DataType::try_from(tensor.data_type()).ok().and_then(DataType::size);
    let len = size.and_then(|size| tensor.element_count()?.checked_mul(size));
    let len = len.ok_or("its data type or shape is impossible")?;
    let number = |key: &str| match tensor.external(key) {
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("its {key} is no number")),
        None => Ok(None),
    };
    let offset = number("offset")?.unwrap_or(0);
    if number("length")?.is_some_and(|length| length != len as u64) {
        return Err(format!("it says another length than the {len} bytes of the tensor's shape"));
    }
    let file = place(path, tensor.external("location").unwrap_or_default())?;
    let (file, available) = open(&file).map_err(|err| err.to_string())?;
    if offset.checked_add(len as u64).is_none_or(|end| end > available) {
        return Err(format!("it has {available} bytes, and {len} at {offset} are wanted"));
    }
    *left = left.checked_sub(len as u64).ok_or("with it the network has more than 2 GiB")?;
    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|err| err.to_string())?;
    data.resize(len, 0);
    file.read_exact_at(&mut data, offset).map_err(|err| err.to_string())?;
    Ok(data)
}

/// The file that a network names, which must be in its folder.
fn place(network: &Path, location: &str) -> Result<PathBuf, String> {
    let location = Path::new(location);
    let mut parts = location.components();
    let plain = parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || location.as_os_str().is_empty() {
        return Err("it is named by more than a path inside that folder".to_owned());
    }
    let folder = match network.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let resolve = |path: &Path| path.canonicalize().map_err(|err| err.to_string());
    let (folder, file) = (resolve(folder)?, resolve(&folder.join(location))?);
    if !file.starts_with(&folder) {
        return Err("a link leads out of that folder".to_owned());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{
        model::{Model, tests::network::Network},
        onnx::messages::StringStringEntryProto,
    };

    /// A network whose first tensor is at byte 3 of a file, and whether the tensor is a node's.
    fn external(entries: &[(&str, &str)], of_node: bool) -> (Vec<u8>, Vec<u8>) {
        let mut model = Network::default().proto();
        let graph = model.graph.as_mut().expect("a graph");
        if of_node {
            let tensor = graph.initializer.remove(0);
            let mut node = crate::onnx::tests::node("Constant", &[], tensor.name());
            node.attribute.push(crate::onnx::messages::AttributeProto {
                name: Some("value".into()),
                t: Some(tensor),
                ..Default::default()
            });
            graph.node.insert(0, node);
        }
        let tensor = match of_node {
            true => graph.node[0].attribute[0].t.as_mut().expect("a tensor"),
            false => &mut graph.initializer[0],
        };
        let floats = std::mem::take(&mut tensor.float_data);
        let weights = floats.iter().flat_map(|value| value.to_le_bytes());
        let weights = [0; 3].into_iter().chain(weights).collect();
        tensor.data_location = Some(1);
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        tensor.external_data = entries.iter().map(entry).collect();
        (model.encode_to_vec(), weights)
    }

    #[test]
    fn weights_in_the_networks_folder_are_put_into_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("network.onnx");
        fs::create_dir(folder.path().join("data")).expect("a folder");
        for of_node in [false, true] {
            for location in ["weights", "./data/weights"] {
                let (network, weights) =
                    external(&[("location", location), ("offset", "3")], of_node);
                fs::write(folder.path().join(location), weights).expect("a file");
                fs::write(&path, &network).expect("a file");
                assert!(Model::parse(&network).is_err(), "without its folder");
                let model = Model::parse(&read(&path).expect("a file")).expect("a network");
                let float = |graph: &crate::onnx::messages::GraphProto| {
                    graph.tensors().next().and_then(TensorProto::floats)
                };
                let found = ModelProto::decode(model.exported()).expect("a network");
                let expected = Network::default().proto();
                let expected = expected.graph.as_ref().and_then(float);
                let found = found.graph.as_ref().and_then(|graph| {
                    let of_node = graph.node[0].attribute.first().and_then(|a| a.t.as_ref());
                    of_node.map_or_else(|| float(graph), TensorProto::floats)
                });
                assert_eq!(found, expected, "{location}");
            }
        }
    }

    #[test]
    fn weights_elsewhere_are_refused() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = outside.path().join("networks");
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("network.onnx");
        let (_, weights) = external(&[], false);
        for name in ["outside", "networks/inside"] {
            fs::write(outside.path().join(name), &weights).expect("a file");
        }
        symlink("../outside", folder.join("link")).expect("a link");
        let absolute = folder.join("inside").display().to_string();
        let at = ("location", "inside");
        for (entries, why) in [
            (&[][..], "more than a path"),
            (&[("location", "../outside")], "more than a path"),
            (&[("location", &absolute)], "more than a path"),
            (&[("location", "link")], "leads out"),
            (&[("location", "missing")], "No such file"),
            (&[("location", ".")], "a folder"),
            (&[at, ("offset", "5")], "are wanted"),
            (&[at, ("offset", "18446744073709551615")], "are wanted"),
            (&[at, ("offset", "-1")], "no number"),
            (&[at, ("length", "1")], "another length"),
        ] {
            fs::write(&path, external(entries, false).0).expect("a file");
            let message = read(&path).expect_err(why).to_string();
            assert!(message.contains(why), "{message}");
            let file = entries.first().map_or("", |(_, location)| location);
            assert!(message.contains(&format!("the file {file}")), "{message}");
        }
    }

    #[test]
    fn only_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, kind) in [(folder.path(), "a folder"), (Path::new("/dev/zero"), "a device")] {
            let message = read(path).expect_err(kind).to_string();
            assert!(message.contains(kind), "{message}");
        }
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        assert!(matches!(read(&socket), Err(FileError::NoFile("a socket"))));
        let large = folder.path().join("large");
        File::create(&large).and_then(|file| file.set_len(3 << 30)).expect("a file with a hole");
        assert!(matches!(read(&large), Err(FileError::TooLarge(_))));
    }
}
