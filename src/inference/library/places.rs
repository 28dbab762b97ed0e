// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the ONNX Runtime library is searched.
//!
//! What is loaded runs as the user, so nothing is loaded from a place that somebody else may write,
//! nor from one that is only known from the time of the build.

use std::{
    env, fs, io,
    ops::RangeInclusive,
    os::unix::fs::MetadataExt,
    path::{self, Path, PathBuf},
};

use ort::sys::ORT_API_VERSION;

use super::maps;

/// A place to look.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// The file that the user names, or its name for the system's loader.
    Named(PathBuf),
    /// A folder, trusted as far as its files and the folders up to `root` are not for others to
    /// write.
    Folder { folder: PathBuf, root: PathBuf },
    /// By this name, where the system's loader finds it.
    System(String),
}

/// The first of ONNX Runtime's minor versions that can be used, as ort is built here, and one that it will
/// not reach soon.
const MINOR_VERSIONS: RangeInclusive<u32> = ORT_API_VERSION..=99;

/// Places in the order in which they are tried. What the user names is the only one.
pub fn places() -> Vec<Place> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![Place::Named(path.into())];
    }
    let own_file = own_file();
    let beside = own_file.as_deref().and_then(Path::parent);
    let beside = beside.map(|folder| Place::Folder { folder: folder.into(), root: folder.into() });
    let checkout = own_file.as_deref().and_then(checkout_of);
    let fetched = checkout
        .map(|root| Place::Folder { folder: root.join(".cache/onnxruntime"), root: root.into() });
    let system = names_of_system_libraries().map(Place::System);
    beside.into_iter().chain(fetched).chain(system).collect()
}

/// Debian's names have the minor version, as `libonnxruntime.so.1.21`: the newest first.
fn names_of_system_libraries() -> impl Iterator<Item = String> {
    let name = "libonnxruntime.so";
    let minor = MINOR_VERSIONS.rev().map(move |minor| format!("{name}.1.{minor}"));
    [name.to_owned(), format!("{name}.1")].into_iter().chain(minor)
}

/// The folder of the library that is the first to be tried, unless it is up to the system's loader.
pub fn folder() -> Option<PathBuf> {
    let folder_of = |library: &Path| library.parent().map(Path::to_owned);
    places().into_iter().find_map(|place| match place {
        Place::Named(path) if path.components().count() == 1 => None,
        Place::Named(path) => folder_of(&path::absolute(path).ok()?),
        Place::Folder { folder, root } => folder_of(&library_in(&folder, &root).ok()??),
        Place::System(_) => None,
    })
}

/// The plugin, or the program of which it is a part.
fn own_file() -> Option<PathBuf> {
    maps::file_at(own_file as *const () as usize)
}

/// The checkout in which `file` was built, if it still is where cargo has put it.
fn checkout_of(file: &Path) -> Option<&Path> {
    let name = concat!("name = \"", env!("CARGO_PKG_NAME"), "\"");
    file.ancestors().find(|folder| {
        if !file.starts_with(folder.join("target")) {
            return false;
        }
        let manifest = fs::read_to_string(folder.join("Cargo.toml"));
        manifest.is_ok_and(|manifest| manifest.lines().any(|line| line == name))
    })
}

/// The library in `folder`, where links lead; an error says why it must not be loaded.
pub fn library_in(folder: &Path, root: &Path) -> Result<Option<PathBuf>, String> {
    let Some(library) = named_library_in(folder).and_then(|path| path.canonicalize().ok()) else {
        return Ok(None);
    };
    let root = root.canonicalize();
    match root.and_then(|root| distrust(&library, &root, &trusted_owners())) {
        Ok(None) => Ok(Some(library)),
        Ok(Some(why)) => Err(format!("{} is not loaded, as {why}", library.display())),
        Err(err) => Err(format!("{} is not loaded: {err}", library.display())),
    }
}

/// The highest of the versioned names, such as `libonnxruntime.so.1.32.0`, or `libonnxruntime.so`.
/// GStreamer takes the latter for a plugin where it is in a folder with plugins.
fn named_library_in(folder: &Path) -> Option<PathBuf> {
    let version = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_prefix("libonnxruntime.so")?;
        let parts = name.strip_prefix('.').map(|version| version.split('.').map(str::parse));
        // Empty without a version.
        parts.into_iter().flatten().collect::<Result<Vec<u32>, _>>().ok()
    };
    let files = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
    files.filter_map(|path| Some((version(&path)?, path))).max().map(|(_, path)| path)
}

/// The users who may own what is loaded: root, the user who runs this, and whoever owns the plugin
/// and so can make it do anything.
fn trusted_owners() -> Vec<u32> {
    // SAFETY: it only says a number.
    let user = unsafe { libc::geteuid() };
    let owner = own_file().and_then(|file| fs::metadata(file).ok()).map(|file| file.uid());
    [0, user].into_iter().chain(owner).collect()
}

/// Who else could put their own code into `library` and what it loads from its folder, if anybody.
fn distrust(library: &Path, root: &Path, owners: &[u32]) -> io::Result<Option<String>> {
    const OTHERS_WRITE: u32 = 0o002;
    /// In such a folder everybody may add files, but change only their own.
    const STICKY: u32 = 0o1000;
    let Some(folder) = library.parent() else { return Ok(None) };
    // Where a link leads out of `root`, everything on the way counts.
    let within = folder.starts_with(root);
    let folders = folder.ancestors().filter(|folder| !within || folder.starts_with(root));
    let libraries = folder.read_dir()?.flatten().map(|entry| entry.path());
    let is_library = |path: &PathBuf| path.to_string_lossy().contains(".so");
    for path in folders.map(Path::to_owned).chain(libraries.filter(is_library)) {
        // A link that leads nowhere cannot be loaded either.
        let Ok(metadata) = path.metadata() else { continue };
        let open = metadata.mode() & OTHERS_WRITE != 0;
        let shared = path != folder && metadata.is_dir() && metadata.mode() & STICKY != 0;
        let path = path.display();
        if open && !shared {
            return Ok(Some(format!(
                "every user may write to {path} (remedy: chmod o-w '{path}')"
            )));
        }
        if !owners.contains(&metadata.uid()) {
            return Ok(Some(format!("{path} belongs to another user (uid {})", metadata.uid())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{self, fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_highest_version_is_the_library() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = || {
            let path = named_library_in(folder.path())?;
            Some(path.file_name()?.to_str()?.to_owned())
        };
        assert_eq!(found(), None);
        for (new, expected) in [
            ("libonnxruntime_providers_shared.so", None),
            ("libonnxruntime.so.old", None),
            ("libonnxruntime.so", Some("libonnxruntime.so")),
            ("libonnxruntime.so.1", Some("libonnxruntime.so.1")),
            ("libonnxruntime.so.1.9.2", Some("libonnxruntime.so.1.9.2")),
            ("libonnxruntime.so.1.17.0", Some("libonnxruntime.so.1.17.0")),
        ] {
            fs::write(folder.path().join(new), "").expect("a file");
            assert_eq!(found().as_deref(), expected, "with {new}");
        }
    }

    #[test]
    fn the_system_s_libraries_are_tried_newest_first() {
        let names: Vec<String> = names_of_system_libraries().collect();
        assert_eq!(names[..2], ["libonnxruntime.so", "libonnxruntime.so.1"]);
        let place = |name: &str| names.iter().position(|known| known == name);
        let debian_13 = place("libonnxruntime.so.1.21").expect("a name");
        assert!(place("libonnxruntime.so.1.23").is_some_and(|newer| newer < debian_13));
        assert_eq!(names.last().map(String::as_str), Some("libonnxruntime.so.1.17"));
    }

    #[test]
    fn a_checkout_is_the_folder_above_target_with_this_package() {
        let root = tempfile::tempdir().expect("a folder");
        let target = root.path().join("target/debug/deps");
        fs::create_dir_all(&target).expect("a folder");
        let file = target.join("a-test");
        assert_eq!(checkout_of(&file), None);
        let manifest = root.path().join("Cargo.toml");
        fs::write(&manifest, "[package]\nname = \"other\"\n").expect("a file");
        assert_eq!(checkout_of(&file), None);
        let ours = concat!("[package]\nname = \"", env!("CARGO_PKG_NAME"), "\"\n");
        fs::write(&manifest, ours).expect("a file");
        assert_eq!(checkout_of(&file), Some(root.path()));
        assert_eq!(checkout_of(&root.path().join("plugins/a-copy")), None);
    }

    #[test]
    fn what_others_may_write_is_not_loaded() {
        let root = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a folder");
        let (cache, folder) = (root.join(".cache"), root.join(".cache/onnxruntime-cpu"));
        fs::create_dir_all(&folder).expect("a folder");
        let link = cache.join("onnxruntime");
        unix::fs::symlink(&folder, &link).expect("a link");
        let library = folder.join("libonnxruntime.so.1.32.0");
        let helper = folder.join("libonnxruntime_providers_openvino.so");
        fs::write(&library, "").expect("a file");
        fs::write(&helper, "").expect("a file");
        assert_eq!(library_in(&link, &root), Ok(Some(library.clone())));
        assert_eq!(library_in(outside.path(), &root), Ok(None));

        for path in [&root, &cache, &folder, &library, &helper] {
            let mode = path.metadata().expect("it is there").mode();
            fs::set_permissions(path, PermissionsExt::from_mode(mode | 0o002)).expect("ours");
            let why = library_in(&link, &root).expect_err("others may write");
            let named = format!("every user may write to {} ", path.display());
            assert!(why.contains(&named) && why.contains("chmod"), "{why}");
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
        }
        let owner = library.metadata().expect("it is there").uid();
        let why = distrust(&library, &root, &[owner + 1]).expect("it is there");
        assert!(why.is_some_and(|why| why.contains(&format!("another user (uid {owner})"))));

        // Where the link leads out of `root`, what is there counts.
        let outside = outside.path().canonicalize().expect("a folder");
        let folder = outside.join("onnxruntime");
        fs::create_dir(&folder).expect("a folder");
        let library = folder.join("libonnxruntime.so.1.32.0");
        fs::write(&library, "").expect("a file");
        fs::remove_file(&link).expect("a link");
        unix::fs::symlink(&folder, &link).expect("a link");
        for (path, mode, trusted) in [
            (&outside, 0o755, true),
            (&outside, 0o777, false),
            (&outside, 0o1777, true),
            (&folder, 0o1777, false),
        ] {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
            let found = library_in(&link, &root);
            assert_eq!(found.is_ok(), trusted, "{found:?}");
        }
    }
}
