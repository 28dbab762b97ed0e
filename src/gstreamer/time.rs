// SPDX-License-Identifier: MIT OR Apache-2.0

//! When frames were taken, and whether they are of now.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use gst::prelude::*;

/// From 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: gst::ClockTime = gst::ClockTime::from_seconds(2_208_988_800);

/// The latency of what is upstream of a sink pad; `None` where it is not live.
pub fn upstream_latency(sink_pad: &gst::Pad) -> Option<gst::ClockTime> {
    let mut query = gst::query::Latency::new();
    let answered = sink_pad.peer_query(&mut query);
    let (live, minimum, _) = query.result();
    (answered && live).then_some(minimum)
}

/// When a frame was taken, in nanoseconds since 1970 UTC, as its `GstReferenceTimestampMeta` says:
/// `timestamp/x-unix`, or `timestamp/x-ntp`, as of cameras that send RTP.
pub fn reference_utc(buffer: &gst::BufferRef) -> Option<u64> {
    static UNIX: LazyLock<gst::Caps> =
        LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-unix"));
    static NTP: LazyLock<gst::Caps> =
        LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-ntp"));
    let of = |caps: &gst::Caps| {
        let mut metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
        metas.find(|meta| meta.reference().is_subset(caps)).map(|meta| meta.timestamp())
    };
    let unix = of(&UNIX).or_else(|| of(&NTP)?.checked_sub(NTP_TO_UNIX));
    unix.map(gst::ClockTime::nseconds)
}

/// When the pipeline's clock said this running time, in nanoseconds since 1970 UTC: when a frame of a
/// live source was taken. `None` where the pipeline does not play yet.
pub fn live_utc(element: &gst::Element, running_time: gst::ClockTime) -> Option<u64> {
    let (clock, base_time) = (element.clock()?, element.base_time()?);
    let ago = i128::from(clock.time().nseconds())
        - i128::from(base_time.nseconds())
        - i128::from(running_time.nseconds());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(i128::try_from(now.as_nanos()).ok()? - ago).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(references: &[(&str, u64)]) -> gst::Buffer {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        for (name, seconds) in references {
            gst::ReferenceTimestampMeta::add(
                buffer.make_mut(),
                &gst::Caps::new_empty_simple(*name),
                gst::ClockTime::from_seconds(*seconds),
                gst::ClockTime::NONE,
            );
        }
        buffer
    }

    #[test]
    fn references_to_utc_are_understood() {
        let (unix, ntp) = ("timestamp/x-unix", "timestamp/x-ntp");
        // 2020-01-01 00:00:00 in both.
        let (in_unix, in_ntp) = (1_577_836_800, 3_786_825_600);
        let nanoseconds = |seconds: u64| Some(seconds * 1_000_000_000);
        for (references, expected) in [
            (vec![], None),
            (vec![("timestamp/x-ptp", 5)], None),
            (vec![(unix, in_unix)], nanoseconds(in_unix)),
            (vec![(ntp, in_ntp)], nanoseconds(in_unix)),
            (vec![(ntp, in_ntp), (unix, 5)], nanoseconds(5)),
            // Before 1970.
            (vec![(ntp, 5)], None),
        ] {
            assert_eq!(reference_utc(&buffer(&references)), expected, "{references:?}");
        }
    }
}
