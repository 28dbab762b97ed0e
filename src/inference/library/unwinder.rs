// SPDX-License-Identifier: MIT OR Apache-2.0

//! Exceptions of ONNX Runtime in processes that have two unwinders.
//!
//! ONNX Runtime is C++ and throws. `throw` is a call into libstdc++, which calls
//! `_Unwind_RaiseException` to walk the stack; on the way, functions that clean up call
//! `_Unwind_Resume` to have the walk continued. Both functions have to come from one library, as they
//! pass notes to each other in a form of its own. Usually that is libgcc_s. But Debian's libgstreamer
//! brings libunwind, which has functions of the same names, and a library gets each from whichever
//! comes first where the loader looks at the time that it is loaded: first in what everybody can see,
//! then in the library's own dependencies.
//!
//! - A program loads GStreamer, then ONNX Runtime: libunwind can be seen by everybody, and libstdc++
//!   and ONNX Runtime both get libunwind.
//! - A Python program imports NumPy, then GStreamer: NumPy has brought libstdc++, which got libgcc_s,
//!   as nothing else was there. GStreamer's bindings let everybody see libunwind, and ONNX Runtime gets
//!   that. An exception then ends the process. The same happens if NumPy has brought only libgcc_s,
//!   which takes part in unwinding for functions of C and then does so with its own functions.
//!
//! In the second case ONNX Runtime has to look into its own dependencies first, where libgcc_s is: the
//! loader's flag `RTLD_DEEPBIND`. In the first case that would be wrong. So we look which unwinder
//! these libraries got, before ONNX Runtime is loaded, and whether it got the same, afterwards.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use libloading::os::unix;

use super::maps;

/// How to load ONNX Runtime, so that it gets the unwinder that others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// To what everybody can see, as usual.
    Global,
    /// To its own dependencies first.
    Own,
}

impl Binding {
    /// The one that is right in this process.
    pub fn of_this_process() -> Self {
        // SAFETY: a look for a symbol that is not called.
        let global = unsafe { unix::Library::this().get::<fn()>(b"_Unwind_Resume\0") };
        let global = global.ok().and_then(|function| maps::file_at(*function as usize));
        match global {
            Some(global) if unwinders().iter().any(|(_, unwinder)| *unwinder != global) => {
                Self::Own
            }
            _ => Self::Global,
        }
    }

    /// Flags for the loader. Functions are found at once, for [`check`] to see which.
    pub fn flags(self) -> i32 {
        /// In bits/dlfcn.h of glibc, which alone has it.
        const RTLD_DEEPBIND: i32 = 8;
        let flags = unix::RTLD_NOW | unix::RTLD_LOCAL;
        if self == Self::Own { flags | RTLD_DEEPBIND } else { flags }
    }
}

/// Fails if an exception in the library that is loaded from `file` would end the process.
pub fn check(file: &Path) -> Result<(), String> {
    let Some(resumed) = bound(file, "_Unwind_Resume") else { return Ok(()) };
    match unwinders().into_iter().find(|(_, unwinder)| *unwinder != resumed) {
        None => Ok(()),
        Some((library, unwinder)) => Err(format!(
            "an exception would end this process, as it was loaded with {} and {library} with {}; load \
             GStreamer before other libraries (in Python, import gi before numpy and cv2)",
            resumed.display(),
            unwinder.display()
        )),
    }
}

/// The libraries for C++ and C that take part in unwinding, where they are loaded, and the unwinder
/// that each has got.
fn unwinders() -> Vec<(&'static str, PathBuf)> {
    let unwinder = |(library, function)| {
        let is_it = |file: &PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(library))
        };
        Some((library, bound(&maps::files().find(is_it)?, function)?))
    };
    // The latter may have to do with libunwind, for functions of C that clean up.
    let libraries =
        [("libstdc++.so", "_Unwind_RaiseException"), ("libgcc_s.so", "_Unwind_GetIPInfo")];
    libraries.into_iter().filter_map(unwinder).collect()
}

/// The library from which `file`, which is loaded, has got a function. `None` where it uses no such
/// function, or gets it only when it first calls it.
fn bound(file: &Path, function: &str) -> Option<PathBuf> {
    let Reference { target, own } = Image::at(maps::start_of(file)?)?.reference(function)?;
    // Until the first call it leads to the loader, by a detour through the library itself.
    maps::file_at(target as usize).filter(|provider| provider != file || target == own)
}

/// What a library has in place of a function.
struct Reference {
    target: u64,
    /// Its own function of that name, if it has one.
    own: u64,
}

/// A library in this process, laid out as the ELF specification says for 64 bits.
struct Image {
    memory: File,
    base: u64,
    names: u64,
    symbols: u64,
    /// Where tables of relocations are, and how long.
    relocations: [(u64, u64); 2],
}

impl Image {
    /// The one that begins at `base`.
    fn at(base: usize) -> Option<Self> {
        const PT_DYNAMIC: u32 = 2;
        const DT_PLTRELSZ: u64 = 2;
        const DT_STRTAB: u64 = 5;
        const DT_SYMTAB: u64 = 6;
        const DT_RELA: u64 = 7;
        const DT_RELASZ: u64 = 8;
        const DT_JMPREL: u64 = 23;
        let (memory, base) = (File::open("/proc/self/mem").ok()?, base as u64);
        let header: [u8; 64] = read(&memory, base)?;
        if !header.starts_with(b"\x7fELF\x02") {
            return None;
        }
        let segments = u64_at(&header, 32);
        let segments = (0..u16_at(&header, 56)).map(|index| segments + u64::from(index) * 56);
        let mut segments = segments.filter_map(|offset| read::<56>(&memory, base + offset));
        let dynamic = segments.find(|segment| u32_at(segment, 0) == PT_DYNAMIC)?;
        let (start, len) = (base + u64_at(&dynamic, 16), u64_at(&dynamic, 40));
        let entries = (start..start + len).step_by(16);
        let entries: Vec<_> = entries.filter_map(|entry| read::<16>(&memory, entry)).collect();
        let value = |tag| {
            let entry = entries.iter().find(|entry| u64_at(*entry, 0) == tag);
            entry.map(|entry| u64_at(entry, 8))
        };
        // glibc replaces offsets with addresses, on most processors.
        let address = |tag| value(tag).map(|value| if value < base { base + value } else { value });
        let table = |start, len| (address(start).unwrap_or(0), value(len).unwrap_or(0));
        Some(Self {
            names: address(DT_STRTAB)?,
            symbols: address(DT_SYMTAB)?,
            relocations: [table(DT_JMPREL, DT_PLTRELSZ), table(DT_RELA, DT_RELASZ)],
            memory,
            base,
        })
    }

    fn reference(&self, function: &str) -> Option<Reference> {
        for (start, len) in self.relocations {
            let mut table = vec![0; len as usize];
            self.memory.read_exact_at(&mut table, start).ok()?;
            for relocation in table.chunks_exact(24) {
                let (place, symbol) = (u64_at(relocation, 0), u64_at(relocation, 8) >> 32);
                if symbol == 0 {
                    continue;
                }
                let symbol: [u8; 24] = read(&self.memory, self.symbols + symbol * 24)?;
                if self.is_at(self.names + u64::from(u32_at(&symbol, 0)), function) {
                    let target = u64::from_ne_bytes(read(&self.memory, self.base + place)?);
                    return Some(Reference { target, own: self.base + u64_at(&symbol, 8) });
                }
            }
        }
        None
    }

    fn is_at(&self, place: u64, name: &str) -> bool {
        let mut found = vec![0; name.len() + 1];
        self.memory.read_exact_at(&mut found, place).is_ok()
            && found.strip_suffix(b"\0") == Some(name.as_bytes())
    }
}

fn read<const LEN: usize>(memory: &File, address: u64) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    memory.read_exact_at(&mut bytes, address).ok().map(|()| bytes)
}

fn u16_at(bytes: &[u8], place: usize) -> u16 {
    u16::from_ne_bytes([bytes[place], bytes[place + 1]])
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from(u16_at(bytes, place)) | u32::from(u16_at(bytes, place + 2)) << 16
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from(u32_at(bytes, place)) | u64::from(u32_at(bytes, place + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_s_origin_is_found() {
        let test = maps::file_at(bound as *const () as usize).expect("this test");
        let libc = bound(&test, "malloc").expect("the test allocates");
        let name = libc.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name.starts_with("libc"), "{name}");
        assert_eq!(bound(&test, "mallo"), None);
        assert_eq!(bound(&test, "no_such_function"), None);
        assert_eq!(bound(Path::new("/no/such/library.so"), "malloc"), None);
    }
}
