// SPDX-License-Identifier: MIT OR Apache-2.0

//! What differs between face networks: one file a family, one list.

pub mod family;
pub mod heads;
pub mod input;
pub mod insightface;
pub mod level;
pub mod pytorch;
pub mod resembles;
pub mod scrfd;
mod trace;
pub mod yolo;
pub mod yunet;

use family::{Family, Network, Recognised, Unusable};

/// All families, in the order in which they are tried.
pub const FAMILIES: [&dyn Family; 5] =
    [&insightface::WITH_LANDMARKS, &pytorch::RETINAFACE, &scrfd::Scrfd, &yunet::YuNet, &yolo::YOLO];

/// The first family that a network is of; `None`: it is of none.
pub fn recognise(network: &Network) -> Result<Option<Recognised>, Unusable> {
    for family in FAMILIES {
        if let Some(recognised) = family.recognise(network)? {
            return Ok(Some(recognised));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
