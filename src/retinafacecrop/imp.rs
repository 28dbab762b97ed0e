// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    mem,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{
    prelude::*,
    subclass::{base_transform::GenerateOutputSuccess, prelude::*},
};
use gst_video::{VideoFormat, VideoInfo};

use super::{
    best::{Best, Moment},
    settings::{Align, Select, Settings},
};
use crate::{
    alignment::{self, Affine, Cropper, Picture, PlaceError, Quality},
    face::{Face, Landmarks, TrackingState},
    frame::{Frame, Layout},
    geometry::Rect,
    gstreamer::{self, BadFrames, MapError, Source},
    preprocess::ChannelOrder,
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafacecrop",
        gst::DebugColorFlags::empty(),
        Some("Cuts faces out of video"),
    )
});

const MIN_SIZE: u32 = 8;
const MAX_SIZE: u32 = 4096;

/// The caps of what comes and what leaves.
#[derive(Clone, Debug)]
struct Format {
    info: VideoInfo,
    layout: Layout,
    /// A pixel's width divided by its height.
    aspect: f64,
    out: VideoInfo,
    order: ChannelOrder,
}

/// There from start() to stop(). Locked while pictures are cut out, never while they are pushed.
#[derive(Default)]
struct State {
    /// There from the first caps on.
    format: Option<Format>,
    /// That have arrived since the start.
    frames: u64,
    cropper: Cropper,
    best: Best<gst::Buffer>,
    /// Whether there was a warning that faces are left out.
    warned: bool,
}

/// Why the stream cannot go on.
#[derive(Debug, thiserror::Error)]
enum CropError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(
        "select=best needs to know which face of a frame is which of the one before: put \
         retinafacetrack before retinafacecrop"
    )]
    NoTracks,
    #[error("there is no memory for the pictures: {0}")]
    Memory(#[from] glib::BoolError),
}

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::RetinaFaceCrop)]
pub struct RetinaFaceCrop {
    #[property(
        name = "size",
        nick = "Size",
        blurb = "Width and height in pixels of the pictures that are cut out",
        get, set, type = u32, member = size,
        minimum = MIN_SIZE, maximum = MAX_SIZE, default = Settings::DEFAULT.size,
        mutable_ready,
    )]
    #[property(
        name = "align",
        nick = "Align",
        blurb = "How a face is placed in its picture. With landmarks, by the similarity (turn, scale, \
                 move) that takes its five landmarks nearest to those of ArcFace, as networks for \
                 recognition expect it; faces without landmarks are left out, with a warning",
        get, set, type = Align, member = align,
        mutable_ready,
        builder(Settings::DEFAULT.align)
    )]
    #[property(
        name = "margin",
        nick = "Margin",
        blurb = "With align=none, enlarge the box on each side by this fraction of its width and \
                 height",
        get, set, type = f64, member = margin,
        minimum = 0.0, maximum = 10.0, default = Settings::DEFAULT.margin,
        mutable_playing,
    )]
    #[property(
        name = "select",
        nick = "Select",
        blurb = "Which pictures are sent. The best of a face is that with the highest quality = \
                 sharpness * frontality * size, each from 0 to 1, among frames in which it was \
                 detected. sharpness: v / (v + 100) for v, the variance of the picture's Laplacian. \
                 frontality: (1 - |a|) * (1 - |2b - 1|), where the nose is a half eye distances \
                 beside the line from between the eyes to between the corners of the mouth, and at b \
                 of its length (1 without landmarks). size: pixels of the frame for each of the \
                 picture's, across and down, at most 1, times the share of the picture inside the \
                 frame",
        get, set, type = Select, member = select,
        mutable_ready,
        builder(Settings::DEFAULT.select)
    )]
    #[property(
        name = "best-interval",
        nick = "Best interval",
        blurb = "With select=best, send the best picture of a face after this many nanoseconds, and \
                 the best of the next as many, while it is there (0 = once, when it has gone)",
        get, set, type = u64, member = best_interval,
        default = Settings::DEFAULT.best_interval,
        mutable_playing,
    )]
    #[property(
        name = "max-age",
        nick = "Maximum age",
        blurb = "With select=best, maximum number of frames without a face for it to come back, as \
                 max-age of retinafacetrack: after more its best picture is sent",
        get, set, type = u32, member = max_age,
        default = Settings::DEFAULT.max_age,
        mutable_playing,
    )]
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    bad_frames: Mutex<BadFrames>,
}

/// Neither the settings nor the state can be left half-written, so a panic elsewhere is no reason
/// for one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Format {
    fn new(incaps: &gst::CapsRef, outcaps: &gst::CapsRef) -> Result<Self, String> {
        let (info, layout) = gstreamer::parse_caps(incaps).map_err(|err| err.to_string())?;
        let out = VideoInfo::from_caps(outcaps).map_err(|err| err.to_string())?;
        let order = match out.format() {
            VideoFormat::Bgr => ChannelOrder::Bgr,
            _ => ChannelOrder::Rgb,
        };
        let (width, height) = (info.par().numer(), info.par().denom());
        Ok(Self { info, layout, aspect: f64::from(width) / f64::from(height), out, order })
    }

    /// Where a face goes in its picture.
    fn place(&self, face: &Face, settings: &Settings) -> Result<Affine, PlaceError> {
        match settings.align {
            Align::Landmarks => alignment::aligned(face, self.out.width(), self.aspect),
            Align::None => alignment::boxed(face, self.out.width(), settings.margin, self.aspect),
        }
    }

    /// Makes `buffer` a picture of a face in the frame of `input`, and says how good it is.
    fn picture(
        &self,
        mut buffer: gst::Buffer,
        cropper: &mut Cropper,
        frame: &Frame,
        (face, map): (&Face, &Affine),
        input: &gst::BufferRef,
        number: u64,
    ) -> Result<(gst::Buffer, Quality), glib::BoolError> {
        let size = self.out.width();
        let picture = buffer.make_mut();
        let sampled = {
            let mut data = picture.map_writable()?;
            let stride = self.out.stride()[0].unsigned_abs() as usize;
            let (data, order) = (data.as_mut_slice(), self.order);
            cropper.crop(frame, map, &mut Picture { data, stride, size: size as usize, order })
        };
        let quality = Quality {
            sharpness: sampled.map_or(0.0, |sampled| sampled.sharpness),
            frontality: face.landmarks.as_ref().map(alignment::frontality),
            size: sampled.map_or(0.0, |sampled| sampled.size),
        };
        picture.set_pts(input.pts());
        picture.set_dts(input.dts());
        picture.set_duration(input.duration());
        let side = size as f32;
        let landmarks = face.landmarks.map(|points| Landmarks(points.0.map(|p| map.apply(p))));
        let in_picture = Face { bounds: Rect::new(0.0, 0.0, side, side), landmarks, ..*face };
        let source = Source {
            frame: number,
            pts: input.pts(),
            size: gstreamer::visible_size(input, &self.info),
            bounds: face.bounds,
            quality,
        };
        gstreamer::attach_crop(picture, &in_picture, size, &source);
        Ok((buffer, quality))
    }
}

impl RetinaFaceCrop {
    /// The pictures that are to be sent after this frame.
    fn cut(
        &self,
        input: &gst::BufferRef,
        settings: &Settings,
    ) -> Result<Vec<gst::Buffer>, CropError> {
        let mut state = lock(&self.state);
        let Some(State { format: Some(format), frames, cropper, best, warned }) = state.as_mut()
        else {
            return Ok(Vec::new());
        };
        let now = Moment { frame: *frames, time: input.pts().map(gst::ClockTime::nseconds) };
        *frames += 1;
        let faces = self.faces(input, format, settings, warned);
        if settings.select == Select::Best && faces.iter().any(|(face, _)| face.tracking.is_none())
        {
            return Err(CropError::NoTracks);
        }
        let mut pictures = Vec::new();
        if !faces.is_empty() {
            gstreamer::with_frame(input, &format.info, format.layout, |frame| {
                for (face, map) in &faces {
                    let mut picture = || {
                        let buffer = self.new_buffer(format.out.size())?;
                        format.picture(buffer, cropper, frame, (face, map), input, now.frame)
                    };
                    match face.tracking.filter(|_| settings.select == Select::Best) {
                        None => pictures.push(picture()?.0),
                        Some(track) if track.state == TrackingState::Detected => {
                            let (picture, quality) = picture()?;
                            best.offer(track.id, now, quality.value(), picture);
                        }
                        Some(track) => best.see(track.id, now),
                    }
                }
                Ok::<_, glib::BoolError>(())
            })??;
        }
        pictures.extend(best.due(now, settings.max_age.into(), settings.best_interval));
        Ok(pictures)
    }

    /// A buffer for a picture; one of those before that nobody needs any more, if there is one.
    fn new_buffer(&self, size: usize) -> Result<gst::Buffer, glib::BoolError> {
        let pool = self.obj().buffer_pool().filter(|pool| pool.set_active(true).is_ok());
        let pooled = pool.and_then(|pool| pool.acquire_buffer(None).ok());
        pooled.map_or_else(|| gst::Buffer::with_size(size), Ok)
    }

    /// The faces that pictures can be cut out for, and where they go there.
    fn faces(
        &self,
        input: &gst::BufferRef,
        format: &Format,
        settings: &Settings,
        warned: &mut bool,
    ) -> Vec<(Face, Affine)> {
        let mut faces = Vec::new();
        for face in gstreamer::faces(input) {
            match format.place(&face, settings) {
                Ok(map) => faces.push((face, map)),
                Err(err) => {
                    gst::debug!(CAT, imp = self, "No picture of {face:?}: {err}");
                    if !mem::replace(warned, true) {
                        gst::element_imp_warning!(
                            self,
                            gst::StreamError::Failed,
                            ("A face is left out, and others may be without another message: {err}")
                        );
                    }
                }
            }
        }
        faces
    }

    fn push(&self, pictures: Vec<gst::Buffer>) -> Result<(), gst::FlowError> {
        for picture in pictures {
            self.obj().src_pad().push(picture)?;
        }
        Ok(())
    }

    /// Sends the best pictures of all faces that are there, before what comes next.
    fn drain(&self) {
        let pictures = lock(&self.state).as_mut().map(|state| state.best.take_all());
        if let Err(err) = self.push(pictures.unwrap_or_default()) {
            gst::debug!(CAT, imp = self, "The last pictures were not accepted: {err}");
            if matches!(err, gst::FlowError::NotLinked | gst::FlowError::NotNegotiated) {
                // No frame may follow that could return the failure to upstream.
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Failed,
                    ("The downstream element does not accept the pictures: {err}")
                );
            }
        }
    }

    /// Says to downstream that a frame has no picture, so that nobody waits for one.
    fn push_gap(&self, input: &gst::BufferRef) {
        if let Some(pts) = input.pts() {
            let gap = gst::event::Gap::builder(pts).duration(input.duration()).build();
            self.obj().src_pad().push_event(gap);
        }
    }

    fn post_error(&self, err: CropError) -> Result<(), gst::FlowError> {
        match err {
            CropError::Map(err) => {
                let said = lock(&self.bad_frames).bad(&err, Instant::now());
                said.post(&*self.obj(), gst::StreamError::Format, None)
            }
            CropError::NoTracks => {
                gst::element_imp_error!(self, gst::StreamError::Failed, ("{err}"));
                Err(gst::FlowError::Error)
            }
            CropError::Memory(_) => {
                gst::element_imp_error!(self, gst::ResourceError::NoSpaceLeft, ("{err}"));
                Err(gst::FlowError::Error)
            }
        }
    }

    /// Pictures with aligned faces are upright however the frames have to be turned.
    fn without_orientation(&self, event: gst::Event) -> gst::Event {
        let gst::EventView::Tag(tag) = event.view() else { return event };
        let is_turned = tag.tag().size_by_name("image-orientation") > 0;
        if !is_turned || lock(&self.settings).align != Align::Landmarks {
            return event;
        }
        let mut tags = tag.tag_owned();
        tags.make_mut().remove_generic("image-orientation");
        gst::event::Tag::builder(tags).seqnum(event.seqnum()).build()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceCrop {
    const NAME: &'static str = "GstRetinaFaceCrop";
    type Type = super::RetinaFaceCrop;
    type ParentType = gst_base::BaseTransform;
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFaceCrop {
    fn constructed(&self) {
        self.parent_constructed();
        gstreamer::explain_refusals(self.obj().sink_pad());
    }
}

impl GstObjectImpl for RetinaFaceCrop {}

impl ElementImpl for RetinaFaceCrop {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face crop",
                "Filter/Converter/Video",
                "Makes a picture of each face that retinafacedetect, or any other element, has attached \
                 to a frame: aligned by its landmarks as networks for recognition expect it, or its box",
                "The gst-plugin-retinaface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static PAD_TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let size = MIN_SIZE as i32..=MAX_SIZE as i32;
            let pictures = gst_video::VideoCapsBuilder::new()
                .format_list([VideoFormat::Rgb, VideoFormat::Bgr])
                .width_range(size.clone())
                .height_range(size)
                .build();
            gstreamer::pad_templates(&gstreamer::video_caps(), &pictures)
        });
        &PAD_TEMPLATES
    }
}

impl BaseTransformImpl for RetinaFaceCrop {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.bad_frames) = BadFrames::dropping();
        *lock(&self.state) = Some(State::default());
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        _caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        let caps = if direction == gst::PadDirection::Src {
            self.obj().sink_pad().pad_template_caps()
        } else {
            let size = lock(&self.settings).size as i32;
            gst_video::VideoCapsBuilder::new()
                .format_list([VideoFormat::Rgb, VideoFormat::Bgr])
                .width(size)
                .height(size)
                .pixel_aspect_ratio(gst::Fraction::new(1, 1))
                // As many pictures as there are faces.
                .framerate(gst::Fraction::new(0, 1))
                .build()
        };
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn set_caps(&self, incaps: &gst::Caps, outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let format = Format::new(incaps, outcaps).map_err(|err| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            gst::loggable_error!(CAT, "{err}")
        })?;
        let before = lock(&self.state).as_ref().and_then(|state| state.format.clone());
        if before.is_some_and(|before| before.out != format.out) {
            // They are of the caps before.
            self.drain();
        }
        gst::debug!(CAT, imp = self, "Cutting faces out with {format:?}");
        if let Some(state) = lock(&self.state).as_mut() {
            state.format = Some(format);
        }
        Ok(())
    }

    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        gstreamer::add_understood_metas(query);
        Ok(())
    }

    fn decide_allocation(
        &self,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // Downstream's pools may have an end, and the best pictures are kept for long: in a pool of our
        // own, which the base class makes.
        for index in (0..query.allocation_pools().count()).rev() {
            query.remove_nth_allocation_pool(index as u32);
        }
        let out = query.get().0.and_then(|caps| VideoInfo::from_caps(caps).ok());
        if let Some(size) = out.and_then(|out| u32::try_from(out.size()).ok()) {
            query.add_allocation_pool(gst::BufferPool::NONE, size, 0, 0);
        }
        self.parent_decide_allocation(query)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStop => {
                if let Some(state) = lock(&self.state).as_mut() {
                    state.best = Best::default();
                }
            }
            // Faces of one stream are none of the next.
            gst::EventType::StreamStart | gst::EventType::Segment | gst::EventType::Eos => {
                self.drain()
            }
            _ => (),
        }
        if event.type_() == gst::EventType::Eos {
            let all_bad = lock(&self.bad_frames).at_end();
            if let Some(text) = all_bad {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{text}"));
            }
        }
        let event = self.without_orientation(event);
        self.parent_sink_event(event)
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let settings = *lock(&self.settings);
        let pictures = match self.cut(&buffer, &settings) {
            Ok(pictures) => {
                lock(&self.bad_frames).good();
                pictures
            }
            Err(err) => {
                self.post_error(err)?;
                Vec::new()
            }
        };
        // Pushed here rather than by the base class, which takes one buffer for one that has come.
        if pictures.is_empty() {
            self.push_gap(&buffer);
        }
        self.push(pictures).map(|()| GenerateOutputSuccess::NoOutput)
    }
}
