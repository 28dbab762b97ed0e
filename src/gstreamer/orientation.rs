// SPDX-License-Identifier: MIT OR Apache-2.0

//! The orientation that a stream's tags give it.

use gst::prelude::*;

use crate::orientation::Orientation;

/// What the tags `image-orientation` of a stream say, by the rules of `videoflip`: a tag of the
/// stream counts more than one of its container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrientationTags {
    stream: Option<Orientation>,
    global: Option<Orientation>,
}

impl OrientationTags {
    /// Takes note of a list of tags, which need not say anything of the orientation.
    pub fn update(&mut self, tags: &gst::TagListRef) {
        let Some(orientation) = parse(tags) else { return };
        match tags.scope() {
            gst::TagScope::Stream => self.stream = Some(orientation),
            _ => self.global = Some(orientation),
        }
    }

    /// The orientation of the frames from now on.
    pub fn orientation(&self) -> Orientation {
        self.stream.or(self.global).unwrap_or_default()
    }
}

/// `flip-rotate-N`: flipped horizontally, then rotated by N° clockwise.
fn parse(tags: &gst::TagListRef) -> Option<Orientation> {
    // Escaped, so that it is text whatever bytes are in it.
    let value = tags.index_generic("image-orientation", 0)?.serialize().ok()?;
    Some(match value.as_str() {
        "rotate-0" => Orientation::Identity,
        "rotate-90" => Orientation::Rotate90,
        "rotate-180" => Orientation::Rotate180,
        "rotate-270" => Orientation::Rotate270,
        "flip-rotate-0" => Orientation::FlipHorizontal,
        "flip-rotate-90" => Orientation::Transverse,
        "flip-rotate-180" => Orientation::FlipVertical,
        "flip-rotate-270" => Orientation::Transpose,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(scope: gst::TagScope, orientation: Option<&str>) -> gst::TagList {
        gst::init().unwrap();
        let mut tags = gst::TagList::new();
        let tags_ref = tags.make_mut();
        tags_ref.set_scope(scope);
        tags_ref.add::<gst::tags::Title>(&"a film", gst::TagMergeMode::Append);
        if let Some(orientation) = orientation {
            tags_ref.add::<gst::tags::ImageOrientation>(&orientation, gst::TagMergeMode::Append);
        }
        tags
    }

    #[test]
    fn a_stream_counts_more_than_its_container() {
        use gst::TagScope::{Global, Stream};
        let mut found = OrientationTags::default();
        assert_eq!(found.orientation(), Orientation::Identity);
        for (scope, orientation, expected) in [
            (Global, Some("rotate-90"), Orientation::Rotate90),
            (Stream, None, Orientation::Rotate90),
            (Stream, Some("rotate-180"), Orientation::Rotate180),
            (Global, Some("rotate-270"), Orientation::Rotate180),
            (Stream, Some("upside-down"), Orientation::Rotate180),
            (Stream, Some("rotate-0"), Orientation::Identity),
        ] {
            found.update(&tags(scope, orientation));
            assert_eq!(found.orientation(), expected, "{scope:?} {orientation:?}");
        }
    }
}
