// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sessions that this process has loaded, for elements to share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{
    config::{Config, Parallelism, Precision},
    error::LoadError,
    provider::Provider,
    session::Session,
};
use crate::{
    model::{InputSpec, Model},
    native::InstructionSet,
};

/// What makes two sessions the same.
struct Key {
    model: Weak<Model>,
    spec: InputSpec,
    config: (Provider, Precision, Parallelism, InstructionSet),
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.model, &other.model)
            && self.spec == other.spec
            && self.config == other.config
    }
}

/// A session somebody in this process uses, or one being loaded: then the mutex is locked.
struct Entry {
    key: Key,
    session: Mutex<Weak<Session>>,
}

static SESSIONS: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());

/// The session for these if somebody in this process uses it, or else a new one from `load`.
pub fn get_or_load(
    model: &Arc<Model>,
    spec: &InputSpec,
    config: &Config,
    load: impl FnOnce() -> Result<Arc<Session>, LoadError>,
) -> Result<Arc<Session>, LoadError> {
    let key = Key {
        model: Arc::downgrade(model),
        spec: spec.clone(),
        config: (config.provider, config.precision, config.parallelism, config.instructions),
    };
    let entry = {
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        // An entry that somebody else has at hand is about to get its session.
        sessions.retain(|entry| Arc::strong_count(entry) > 1 || entry.in_use());
        if let Some(entry) = sessions.iter().find(|entry| entry.key == key) {
            Arc::clone(entry)
        } else {
            let entry = Arc::new(Entry { key, session: Mutex::default() });
            sessions.push(Arc::clone(&entry));
            entry
        }
    };
    let mut session = entry.session.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(session) = session.upgrade() {
        return Ok(session);
    }
    let new = load()?;
    *session = Arc::downgrade(&new);
    Ok(new)
}

impl Entry {
    fn in_use(&self) -> bool {
        // Locked while it is being loaded.
        self.session.try_lock().map_or(true, |session| session.strong_count() > 0)
    }
}
