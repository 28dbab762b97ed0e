// SPDX-License-Identifier: MIT OR Apache-2.0

//! MATLAB's MAT-file format, level 5 (versions 5 to 7): numbers, text and cell arrays, whatever their
//! shape but matrices. What bytes mean is in MathWorks' "MAT-File Format".

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::common::Error;

const HEADER: usize = 128;
/// Deeper than any file of ours nests its cells.
const DEEPEST: usize = 8;
/// What a compressed variable may become.
const LARGEST: u64 = 1 << 28;

/// miINT8 to miUINT64, miMATRIX, miCOMPRESSED, miUTF8 and miUTF16: types of elements.
mod element {
    pub const INT8: u32 = 1;
    pub const UINT8: u32 = 2;
    pub const INT16: u32 = 3;
    pub const UINT16: u32 = 4;
    pub const INT32: u32 = 5;
    pub const UINT32: u32 = 6;
    pub const SINGLE: u32 = 7;
    pub const DOUBLE: u32 = 9;
    pub const INT64: u32 = 12;
    pub const UINT64: u32 = 13;
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
    pub const UTF8: u32 = 16;
    pub const UTF16: u32 = 17;
}

/// mxCELL_CLASS, mxCHAR_CLASS and those of numbers: classes of arrays.
mod class {
    pub const CELL: u8 = 1;
    pub const CHAR: u8 = 4;
    pub const NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;
}

#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    Cells(Vec<Array>),
    Text(String),
    /// Column after column of `rows` numbers each.
    Numbers {
        rows: usize,
        values: Vec<f64>,
    },
    /// Structures, objects and the like, which nothing here needs.
    Other,
}

impl Array {
    pub fn cells(&self) -> Option<&[Array]> {
        match self {
            Self::Cells(cells) => Some(cells),
            // An empty list is saved as an empty matrix.
            Self::Numbers { values, .. } if values.is_empty() => Some(&[]),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            // A cell that has the text.
            Self::Cells(cells) if cells.len() == 1 => cells[0].text(),
            _ => None,
        }
    }

    pub fn numbers(&self) -> Option<&[f64]> {
        match self {
            Self::Numbers { values, .. } => Some(values),
            _ => None,
        }
    }

    /// The rows of a matrix that has so many columns, or nothing in it.
    pub fn rows(&self, columns: usize) -> Option<Vec<Vec<f64>>> {
        let Self::Numbers { rows, values } = self else { return None };
        if values.is_empty() {
            return Some(Vec::new());
        }
        let row = |row| (0..columns).map(|column| values[column * rows + row]).collect();
        (values.len() == rows.checked_mul(columns)?).then(|| (0..*rows).map(row).collect())
    }
}

pub struct Variable {
    pub name: String,
    pub array: Array,
}

/// The variables of these names that a file has.
pub fn variables(bytes: &[u8], names: &[&str]) -> Result<Vec<Variable>, Error> {
    if bytes.starts_with(b"MATLAB 7.3") || bytes.starts_with(b"\x89HDF") {
        return Err("is a MAT-file of version 7.3: save it in MATLAB with -v7".into());
    }
    let big_endian = match bytes.get(HEADER - 2..HEADER) {
        Some(b"IM") => false,
        Some(b"MI") => true,
        _ => return Err("is no MAT-file of level 5".into()),
    };
    let mut file = Reader { bytes: &bytes[HEADER..], big_endian };
    let mut variables = Vec::new();
    while !file.bytes.is_empty() {
        let at = bytes.len() - file.bytes.len();
        let variable = top_level(&mut file, names).map_err(|err| format!("at byte {at}: {err}"))?;
        variables.extend(variable);
    }
    Ok(variables)
}

fn top_level(file: &mut Reader, names: &[&str]) -> Result<Option<Variable>, Error> {
    let (kind, data) = file.element()?;
    match kind {
        element::MATRIX => Reader { bytes: data, ..*file }.matrix(names, 0),
        element::COMPRESSED => {
            let mut unpacked = Vec::new();
            ZlibDecoder::new(data)
                .take(LARGEST)
                .read_to_end(&mut unpacked)
                .map_err(|err| format!("cannot be decompressed: {err}"))?;
            let (kind, data) = Reader { bytes: &unpacked, ..*file }.element()?;
            match kind {
                element::MATRIX => Reader { bytes: data, ..*file }.matrix(names, 0),
                _ => Err(format!("an element of type {kind} instead of an array").into()),
            }
        }
        _ => Ok(None),
    }
}

/// Reads elements one after the other.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| format!("ends where {length} bytes should follow: it is not whole"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?;
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// An element's type and data.
    fn element(&mut self) -> Result<(u32, &'a [u8]), Error> {
        let first = self.u32()?;
        // Up to four bytes of data are in the tag, their number in its upper half.
        let small = (first >> 16) as usize;
        if small > 0 {
            let data = self.take(4)?;
            let data = data.get(..small).ok_or_else(|| format!("{small} bytes in a tag"))?;
            return Ok((first & 0xffff, data));
        }
        let length = self.u32()? as usize;
        let data = self.take(length)?;
        // Elements begin at multiples of eight bytes, except after compressed ones.
        let padding =
            if first == element::COMPRESSED { 0 } else { length.next_multiple_of(8) - length };
        self.bytes = self.bytes.get(padding..).unwrap_or_default();
        Ok((first, data))
    }

    /// The array in an element of type miMATRIX; `None` at the top level where nobody wants it.
    fn matrix(mut self, names: &[&str], depth: usize) -> Result<Option<Variable>, Error> {
        if depth > DEEPEST {
            return Err("cells are nested too deep".into());
        }
        if self.bytes.is_empty() {
            let array = Array::Numbers { rows: 0, values: Vec::new() };
            return Ok(Some(Variable { name: String::new(), array }));
        }
        let (_, flags) = self.element()?;
        let class =
            *flags.get(if self.big_endian { 3 } else { 0 }).ok_or("an array without flags")?;
        let (kind, sizes) = self.element()?;
        let sizes = self.numbers(kind, sizes)?;
        let (_, name) = self.element()?;
        let name = String::from_utf8_lossy(name).into_owned();
        if depth == 0 && !names.contains(&name.as_str()) {
            return Ok(None);
        }
        let place = |err: Error| -> Error {
            if name.is_empty() { err } else { format!("{name}: {err}").into() }
        };
        let array = self.array(class, &sizes, depth).map_err(place)?;
        Ok(Some(Variable { name, array }))
    }

    fn array(&mut self, class: u8, sizes: &[f64], depth: usize) -> Result<Array, Error> {
        let rows = sizes.first().map_or(0, |rows| *rows as usize);
        let length = sizes.iter().product::<f64>();
        if class == class::CELL {
            // Each has a tag of eight bytes, so a wrong number ends with the data.
            let mut cells = Vec::new();
            while (cells.len() as f64) < length {
                let (kind, data) = self.element()?;
                if kind != element::MATRIX {
                    return Err(format!("an element of type {kind} instead of a cell").into());
                }
                let cell = Reader { bytes: data, ..*self }.matrix(&[], depth + 1)?;
                cells.extend(cell.map(|cell| cell.array));
            }
            return Ok(Array::Cells(cells));
        }
        if class != class::CHAR && !class::NUMBERS.contains(&class) {
            return Ok(Array::Other);
        }
        let (kind, data) = self.element()?;
        if class == class::CHAR && kind == element::UTF8 {
            return Ok(Array::Text(String::from_utf8_lossy(data).into_owned()));
        }
        let values = self.numbers(kind, data)?;
        if values.len() as f64 != length {
            return Err(format!("{} numbers for an array of {length}", values.len()).into());
        }
        if class == class::CHAR {
            let units: Vec<u16> = values.iter().map(|unit| *unit as u16).collect();
            return Ok(Array::Text(String::from_utf16_lossy(&units)));
        }
        Ok(Array::Numbers { rows, values })
    }

    /// Numbers, which may be saved as a smaller type than the array's.
    fn numbers(&self, kind: u32, data: &[u8]) -> Result<Vec<f64>, Error> {
        macro_rules! read {
            ($type:ty) => {{
                let (values, rest) = data.as_chunks::<{ size_of::<$type>() }>();
                if !rest.is_empty() {
                    return Err("numbers that are not whole".into());
                }
                let read =
                    if self.big_endian { <$type>::from_be_bytes } else { <$type>::from_le_bytes };
                values.iter().map(|bytes| read(*bytes) as f64).collect()
            }};
        }
        Ok(match kind {
            element::INT8 => read!(i8),
            element::UINT8 | element::UTF8 => read!(u8),
            element::INT16 => read!(i16),
            element::UINT16 | element::UTF16 => read!(u16),
            element::INT32 => read!(i32),
            element::UINT32 => read!(u32),
            element::SINGLE => read!(f32),
            element::DOUBLE => read!(f64),
            element::INT64 => read!(i64),
            element::UINT64 => read!(u64),
            _ => return Err(format!("an element of type {kind} instead of numbers").into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILES: [&[u8]; 3] = [
        include_bytes!("../../../tests/accuracy/ground_truth/wider_easy_val.mat"),
        include_bytes!("../../../tests/accuracy/ground_truth/wider_medium_val.mat"),
        include_bytes!("../../../tests/accuracy/ground_truth/wider_hard_val.mat"),
    ];
    const NAMES: [&str; 2] = ["event_list", "face_bbx_list"];

    /// An element with its tag, padded to a multiple of eight bytes.
    fn element(kind: u32, data: &[u8], big_endian: bool) -> Vec<u8> {
        let number = if big_endian { u32::to_be_bytes } else { u32::to_le_bytes };
        let mut bytes = [number(kind), number(data.len() as u32)].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn file(class: u8, sizes: [i32; 2], data: &[u8], big_endian: bool) -> Vec<u8> {
        let flags = [u32::from(class), 0];
        let number = if big_endian { u32::to_be_bytes } else { u32::to_le_bytes };
        let sizes = sizes.map(|size| number(size as u32)).concat();
        let array = [
            element(element::UINT32, &flags.map(number).concat(), big_endian),
            element(element::INT32, &sizes, big_endian),
            element(element::INT8, b"a", big_endian),
            data.to_vec(),
        ];
        let mut file = vec![b' '; HEADER - 2];
        file.extend(if big_endian { b"MI" } else { b"IM" });
        file.extend(element(element::MATRIX, &array.concat(), big_endian));
        file
    }

    fn read(file: &[u8]) -> Result<Array, String> {
        let read = variables(file, &["a"]).map_err(|err| err.to_string())?;
        Ok(read.into_iter().next().expect("a variable").array)
    }

    #[test]
    fn both_byte_orders_and_smaller_types() {
        for big_endian in [false, true] {
            let number = if big_endian { i16::to_be_bytes } else { i16::to_le_bytes };
            // Numbers of class double, saved as integers of 16 bits.
            let values = [1i16, -2, 300, 4, 5, 6].map(number).concat();
            let data = element(element::INT16, &values, big_endian);
            let array = read(&file(6, [3, 2], &data, big_endian)).unwrap();
            assert_eq!(array.rows(2).unwrap(), [[1.0, 4.0], [-2.0, 5.0], [300.0, 6.0]]);
            assert_eq!(array.rows(3), None);
            let text = element(
                element::UTF16,
                &[b'h', b'i'].map(|c| number(c.into())).concat(),
                big_endian,
            );
            let array = read(&file(class::CHAR, [1, 2], &text, big_endian)).unwrap();
            assert_eq!(array.text().unwrap(), "hi");
        }
        let small = [&[1, 0, 2, 0, 7, 8, 0, 0][..]].concat();
        assert_eq!(read(&file(9, [1, 2], &small, false)).unwrap().numbers().unwrap(), [7.0, 8.0]);
    }

    #[test]
    fn damaged_files_say_what_is_wrong() {
        let wrong = |file: &[u8], expected: &str| {
            let err = variables(file, &["a"]).map(|_| ()).unwrap_err().to_string();
            assert!(err.contains(expected), "{err} for {expected}");
        };
        wrong(b"MATLAB 7.3 MAT-file", "save it in MATLAB with -v7");
        wrong(b"", "is no MAT-file of level 5");
        wrong(&[0; 200], "is no MAT-file of level 5");
        let whole = file(6, [1, 1], &element(element::DOUBLE, &[0; 8], false), false);
        wrong(&whole[..whole.len() - 1], "at byte 128: ends where");
        wrong(
            &file(6, [1, 2], &element(element::DOUBLE, &[0; 8], false), false),
            "a: 1 numbers for an array of 2",
        );
        wrong(&file(6, [1, 1], &element(element::DOUBLE, &[0; 7], false), false), "not whole");
        wrong(&file(6, [1, 1], &element(99, &[0; 8], false), false), "type 99 instead of numbers");
        wrong(&file(class::CELL, [9, 9], &[], false), "a: ends where");
        let mut compressed = whole[..HEADER].to_vec();
        compressed.extend(element(element::COMPRESSED, b"not zlib", false));
        wrong(&compressed, "cannot be decompressed");
    }

    #[test]
    fn cells_within_cells_end_somewhere() {
        let mut data = Vec::new();
        for _ in 0..100 {
            let whole = file(class::CELL, [1, 1], &data, false);
            data = whole[HEADER..].to_vec();
        }
        assert!(read(&file(class::CELL, [1, 1], &data, false)).unwrap_err().contains("too deep"));
    }

    proptest! {
        /// Bytes changed anywhere, also in what is compressed: an error or other numbers, never a panic.
        #[test]
        fn damage_is_survived(
            which in 0..FILES.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = FILES[which].to_vec();
            for (place, value) in &changes {
                bytes[place.index(FILES[which].len())] = *value;
            }
            let _ = variables(&bytes, &NAMES);
            let _ = variables(&bytes[..cut.index(bytes.len())], &NAMES);
        }
    }
}
