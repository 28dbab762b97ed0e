// SPDX-License-Identifier: MIT OR Apache-2.0

//! A raw video frame as borrowed bytes, whatever its format, strides and plane offsets.

use thiserror::Error;

/// Where the samples of one colour component stand: the sample for pixel (x, y) begins at byte
/// `offset + (x >> x_shift)·step` of row `y >> y_shift` of the plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Component {
    pub plane: usize,
    pub offset: usize,
    pub step: usize,
    pub x_shift: u32,
    pub y_shift: u32,
    pub storage: Storage,
}

/// How a sample is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As a byte.
    #[default]
    Byte,
    /// As `depth` bits, 9 to 16 of them, of a word of two bytes: those above its `shift` lowest.
    Word { depth: u32, shift: u32, big_endian: bool },
}

impl Storage {
    const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word { .. } => 2,
        }
    }

    /// The value of a sample with all bits set.
    pub const fn max(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word { depth, .. } => (1 << depth) - 1,
        }
    }
}

/// The pixels of a picture that count: all of it, or a part that is cut out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns to the left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Window {
    /// All of a picture of this size.
    pub fn whole(width: u32, height: u32) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// The smallest width and height of a picture that has it; saturates.
    pub fn extent(&self) -> (u32, u32) {
        (self.x.saturating_add(self.width), self.y.saturating_add(self.height))
    }

    /// Whether it lies in a picture of this width and height.
    pub fn fits(&self, picture: (u32, u32)) -> bool {
        let (width, height) = self.extent();
        width <= picture.0 && height <= picture.1
    }
}

impl Component {
    /// Whether a plane of `size` bytes holds all samples for the pixels up to the window's last.
    fn check(&self, window: &Window, stride: usize, size: usize) -> Result<(), FrameError> {
        if window.width == 0 || window.height == 0 {
            return Err(FrameError::Empty { width: window.width, height: window.height });
        }
        let (width, height) = window.extent();
        let last_row = ((height - 1) >> self.y_shift) as usize;
        let needed = last_row.saturating_mul(stride).saturating_add(self.row_bytes(width));
        if size < needed {
            let plane = self.plane;
            return Err(FrameError::Truncated { plane, width, height, needed, found: size });
        }
        Ok(())
    }

    /// Bytes from a row's first to the end of the last sample for `width` pixels, which are at least
    /// one.
    pub fn row_bytes(&self, width: u32) -> usize {
        let last = (width.saturating_sub(1) >> self.x_shift) as usize;
        let start = self.offset.saturating_add(last.saturating_mul(self.step));
        start.saturating_add(self.storage.bytes())
    }

    /// The eight highest bits of each sample as a component of bytes; `None` where they are in two
    /// bytes.
    pub fn high_byte(&self) -> Option<Self> {
        let offset = match self.storage {
            Storage::Byte => self.offset,
            Storage::Word { depth, shift, big_endian } if depth + shift == 16 => {
                self.offset + usize::from(!big_endian)
            }
            Storage::Word { .. } => return None,
        };
        Some(Self { offset, storage: Storage::Byte, ..*self })
    }
}

/// What a frame's components mean, in samples of 8 bits; of longer ones, the eight highest bits do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    /// Red, green, blue, each 0 to 255.
    Rgb,
    /// Luma alone; the other two components repeat it.
    Gray(Luma),
    /// Luma, blue difference, red difference.
    Yuv(Luma, Chroma),
}

/// Luma to gray: `(y - offset) · scale`, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Luma {
    pub offset: f32,
    pub scale: f32,
}

/// What the chroma samples, less 128, add to the gray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chroma {
    pub blue_u: f32,
    pub green_u: f32,
    pub green_v: f32,
    pub red_v: f32,
}

impl Luma {
    /// ITU-R BT.601 and BT.709 quantisation: 16 to 235, or 0 to 255 at full range.
    pub fn new(full_range: bool) -> Self {
        if full_range {
            Self { offset: 0.0, scale: 1.0 }
        } else {
            Self { offset: 16.0, scale: 255.0 / 219.0 }
        }
    }

    #[inline]
    pub fn apply(&self, luma: f32) -> f32 {
        (luma - self.offset) * self.scale
    }
}

impl Chroma {
    /// From the luma weights of red and blue (0.299 and 0.114 in BT.601), ITU-R BT.601 section 2.5.
    pub fn new(kr: f32, kb: f32, full_range: bool) -> Self {
        let scale = if full_range { 1.0 } else { 255.0 / 224.0 };
        let (red_v, blue_u) = (2.0 * (1.0 - kr) * scale, 2.0 * (1.0 - kb) * scale);
        let kg = 1.0 - kr - kb;
        Self { blue_u, green_u: -blue_u * kb / kg, green_v: -red_v * kr / kg, red_v }
    }
}

/// A pixel format: where three components stand and what they mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub components: [Component; 3],
    pub colour: Colour,
}

impl Layout {
    /// The components that have samples of their own: a gray format has only one.
    pub fn distinct(&self) -> &[Component] {
        match self.colour {
            Colour::Gray(_) => &self.components[..1],
            Colour::Rgb | Colour::Yuv(..) => &self.components,
        }
    }
}

/// The bytes of one plane, from its first row's first byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A frame whose every sample is known to lie inside its planes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    layout: Layout,
    window: Window,
    planes: [Plane<'a>; 3],
}

/// Why bytes are no frame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame needs at least one pixel, this one has {width}×{height}")]
    Empty { width: u32, height: u32 },
    #[error(
        "plane {plane} of a {width}×{height} frame needs {needed} bytes, the buffer holds {found} of \
         them"
    )]
    Truncated { plane: usize, width: u32, height: u32, needed: usize, found: usize },
}

impl<'a> Frame<'a> {
    /// Fails when a sample would lie outside its plane. Unused planes may be empty.
    pub fn new(layout: Layout, window: Window, planes: [Plane<'a>; 3]) -> Result<Self, FrameError> {
        for component in &layout.components {
            let Plane { data, stride } = planes[component.plane];
            component.check(&window, stride, data.len())?;
        }
        Ok(Self { layout, window, planes })
    }

    /// A part of it, at least a pixel, without what of `part` is outside.
    pub fn part(&self, part: &Window) -> Self {
        let Window { x, y, width, height } = self.window;
        let (left, above) = (part.x.min(width - 1), part.y.min(height - 1));
        let window = Window {
            x: x + left,
            y: y + above,
            width: part.width.clamp(1, width - left),
            height: part.height.clamp(1, height - above),
        };
        Self { window, ..*self }
    }

    /// The part of the planes' picture that is the frame.
    pub fn window(&self) -> &Window {
        &self.window
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The plane's bytes from sample (0, `row`) of the component on; `row` counts the component's
    /// own rows in the plane, which are fewer than the picture's where it is subsampled.
    pub fn row(&self, component: &Component, row: usize) -> &'a [u8] {
        let plane = &self.planes[component.plane];
        &plane.data[row * plane.stride + component.offset..]
    }
}

/// As many planes as a frame has at most, with that of its opacity.
pub const PLANES: usize = 4;

/// Where a plane of a [`FrameMut`] begins. Planes share memories, and may even overlap, so they
/// cannot be slices of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneMut {
    /// Index of the memory that holds the plane.
    pub memory: usize,
    /// Bytes from the memory's first to the plane's first.
    pub offset: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A frame to draw on, whose every sample is known to lie inside its memories.
#[derive(Debug)]
pub struct FrameMut<'a> {
    layout: Layout,
    alpha: Option<Component>,
    window: Window,
    memories: [&'a mut [u8]; PLANES],
    planes: [PlaneMut; PLANES],
}

impl<'a> FrameMut<'a> {
    /// Fails when a sample, of `alpha` too, would lie outside its memory. Unused memories may be
    /// empty.
    pub fn new(
        layout: Layout,
        alpha: Option<Component>,
        window: Window,
        memories: [&'a mut [u8]; PLANES],
        planes: [PlaneMut; PLANES],
    ) -> Result<Self, FrameError> {
        for component in layout.components.iter().chain(&alpha) {
            let PlaneMut { memory, offset, stride } = planes[component.plane];
            let size = memories[memory].len().saturating_sub(offset);
            component.check(&window, stride, size)?;
        }
        Ok(Self { layout, alpha, window, memories, planes })
    }

    /// The part of the planes' picture that is the frame.
    pub fn window(&self) -> &Window {
        &self.window
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Opacity, 0 to the most that a sample can be, in formats that have it.
    pub fn alpha(&self) -> Option<Component> {
        self.alpha
    }

    /// The sample in column `x` and row `y` of the plane, both counted in the component's own samples;
    /// `None` outside the frame's memory.
    pub fn read(&self, component: &Component, x: usize, y: usize) -> Option<u32> {
        let (memory, index) = self.place(component, x, y);
        let bytes = self.memories[memory].get(index..)?;
        match component.storage {
            Storage::Byte => bytes.first().map(|&byte| byte.into()),
            Storage::Word { shift, big_endian, .. } => {
                let word = word(*bytes.first_chunk()?, big_endian);
                Some(u32::from(word) >> shift & component.storage.max())
            }
        }
    }

    /// Sets the sample in column `x` and row `y` of the plane to `value`, of which the bits count that
    /// a sample has. Nothing happens outside the frame's memory.
    pub fn write(&mut self, component: &Component, x: usize, y: usize, value: u32) {
        let (memory, index) = self.place(component, x, y);
        let Some(bytes) = self.memories[memory].get_mut(index..) else { return };
        match component.storage {
            Storage::Byte => {
                if let Some(byte) = bytes.first_mut() {
                    *byte = value as u8;
                }
            }
            Storage::Word { shift, big_endian, .. } => {
                let Some(bytes) = bytes.first_chunk_mut() else { return };
                let mask = (component.storage.max() << shift) as u16;
                let new = word(*bytes, big_endian) & !mask | (value << shift) as u16 & mask;
                *bytes = if big_endian { new.to_be_bytes() } else { new.to_le_bytes() };
            }
        }
    }

    /// The memory and the index in it at which a sample begins.
    fn place(&self, component: &Component, x: usize, y: usize) -> (usize, usize) {
        let plane = &self.planes[component.plane];
        let index = plane.offset + y * plane.stride + x * component.step + component.offset;
        (plane.memory, index)
    }
}

fn word(bytes: [u8; 2], big_endian: bool) -> u16 {
    if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORD: Storage = Storage::Word { depth: 10, shift: 0, big_endian: false };

    fn component() -> impl Strategy<Value = Component> {
        let storage = prop::sample::select(vec![Storage::Byte, WORD]);
        (0usize..3, 0usize..6, 1usize..=4, 0u32..=2, 0u32..=1, storage).prop_map(
            |(plane, offset, step, x_shift, y_shift, storage)| Component {
                plane,
                offset,
                step,
                x_shift,
                y_shift,
                storage,
            },
        )
    }

    /// The bytes from the first of a plane to the end of the last sample, counted pixel by pixel.
    fn needed(component: &Component, (width, height): (u32, u32), stride: usize) -> usize {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x as usize, y as usize)));
        let index = |(x, y): (usize, usize)| {
            let (column, row) = (x >> component.x_shift, y >> component.y_shift);
            row * stride + component.offset + column * component.step
        };
        let bytes = if component.storage == Storage::Byte { 1 } else { 2 };
        pixels.map(index).max().map_or(0, |last| last + bytes)
    }

    fn layout(components: [Component; 3]) -> Layout {
        Layout { components, colour: Colour::Rgb }
    }

    proptest! {
        /// Planes of exactly the bytes that one component needs, up to three more or fewer.
        #[test]
        fn frames_are_valid_when_every_sample_is_inside(
            components in prop::array::uniform3(component()),
            size in (1u32..=70, 1u32..=70),
            origin in prop_oneof![Just((0, 0)), (0u32..9, 0u32..9)],
            strides in prop::array::uniform3(0usize..200),
            other in 0isize..=3,
            by in -3isize..=3,
        ) {
            let window = Window { x: origin.0, y: origin.1, width: size.0, height: size.1 };
            let extent = (origin.0 + size.0, origin.1 + size.1);
            let need = |c: &Component| needed(c, extent, strides[c.plane]);
            let lens = [0, 1, 2].map(|plane| {
                let of_plane = components.iter().filter(|c| c.plane == plane);
                let len = of_plane.map(need).max().unwrap_or(0);
                len.saturating_add_signed(if plane == 0 { by } else { other })
            });
            let inside = components.iter().all(|c| need(c) <= lens[c.plane]);

            let bytes: [Vec<u8>; 3] = lens.map(|len| (0..len).map(|i| (i % 251) as u8).collect());
            let planes = [0, 1, 2].map(|i| Plane { data: &bytes[i], stride: strides[i] });
            let frame = Frame::new(layout(components), window, planes);
            prop_assert_eq!(frame.is_ok(), inside);
            if let Ok(frame) = frame {
                prop_assert_eq!(frame.window(), &window);
                for c in &components {
                    for row in [0, (extent.1 - 1) as usize >> c.y_shift] {
                        let start = row * strides[c.plane] + c.offset;
                        prop_assert_eq!(frame.row(c, row), &bytes[c.plane][start..]);
                    }
                }
            }

            // The same planes to draw on, in one memory each, behind `other` bytes; the last component
            // as alpha.
            let offset = other as usize;
            let mut memories = bytes.map(|plane| [vec![0; offset], plane].concat());
            let [a, b, c] = &mut memories;
            let planes = [0, 1, 2, 0].map(|i| PlaneMut { memory: i, offset, stride: strides[i] });
            let [first, second, alpha] = components;
            let layout = layout([first, second, first]);
            let frame =
                FrameMut::new(layout, Some(alpha), window, [a, b, c, &mut []], planes);
            prop_assert_eq!(frame.is_ok(), inside);
            if let Ok(mut frame) = frame {
                prop_assert_eq!(frame.window(), &window);
                prop_assert_eq!(frame.layout(), &layout);
                prop_assert_eq!(frame.alpha(), Some(alpha));
                let column = (extent.0 - 1) as usize >> alpha.x_shift;
                let row = (extent.1 - 1) as usize >> alpha.y_shift;
                let end = needed(&alpha, extent, strides[alpha.plane]);
                let expected = match alpha.storage {
                    Storage::Byte => ((end - 1) % 251) as u32,
                    Storage::Word { .. } => {
                        ((end - 2) % 251) as u32 + 256 * (((end - 1) % 251) as u32 % 4)
                    }
                };
                prop_assert_eq!(frame.read(&alpha, column, row), Some(expected));
                frame.write(&alpha, column, row, 77);
                prop_assert_eq!(frame.read(&alpha, column, row), Some(77));
                prop_assert_eq!(frame.read(&alpha, 1_000_000, row), None);
                frame.write(&alpha, 1_000_000, row, 77);
            }
        }
    }

    #[test]
    fn words_hold_samples_beside_other_bits() {
        let word = |depth, shift, big_endian| Component {
            step: 2,
            storage: Storage::Word { depth, shift, big_endian },
            ..Component::default()
        };
        for (component, max, value, written) in [
            // As in I420_10LE: bits 0 to 9 of 0xcdab.
            (word(10, 0, false), 1023, 0x1ab, [0x23, 0xcd]),
            // As in P010_10LE: bits 6 to 15.
            (word(10, 6, false), 1023, 0x336, [0xeb, 0x48]),
            (word(16, 0, false), 65535, 0xcdab, [0x23, 0x01]),
            (word(16, 0, true), 65535, 0xabcd, [0x01, 0x23]),
        ] {
            assert_eq!(component.storage.max(), max);
            let mut memory = [0xab, 0xcd];
            let memories: [&mut [u8]; 4] = [&mut memory, &mut [], &mut [], &mut []];
            let planes = [PlaneMut { memory: 0, offset: 0, stride: 2 }; 4];
            let window = Window::whole(1, 1);
            let frame = FrameMut::new(layout([component; 3]), None, window, memories, planes);
            let mut frame = frame.expect("a frame");
            assert_eq!(frame.read(&component, 0, 0), Some(value), "{component:?}");
            frame.write(&component, 0, 0, 0x123);
            assert_eq!(memory, written, "{component:?}");
        }
    }

    #[test]
    fn high_bytes_are_where_the_eight_highest_bits_are() {
        let offset = |storage| {
            let component = Component { offset: 4, step: 8, storage, ..Component::default() };
            component.high_byte().map(|high| {
                assert_eq!(
                    high,
                    Component { offset: high.offset, storage: Storage::Byte, ..component }
                );
                high.offset
            })
        };
        let word = |depth, shift, big_endian| Storage::Word { depth, shift, big_endian };
        assert_eq!(offset(Storage::Byte), Some(4));
        assert_eq!(offset(word(16, 0, false)), Some(5));
        assert_eq!(offset(word(16, 0, true)), Some(4));
        assert_eq!(offset(word(10, 6, false)), Some(5));
        assert_eq!(offset(word(10, 0, false)), None);
    }

    #[test]
    fn a_part_is_inside_the_frame() {
        let component = Component { step: 1, ..Component::default() };
        let plane = Plane { data: &[0; 200], stride: 20 };
        let window = |x, y, width, height| Window { x, y, width, height };
        let frame = Frame::new(layout([component; 3]), window(5, 2, 10, 6), [plane; 3]);
        let frame = frame.expect("a frame");
        let part = |x, y, width, height| *frame.part(&window(x, y, width, height)).window();
        assert_eq!(part(0, 0, 10, 6), window(5, 2, 10, 6));
        assert_eq!(part(1, 2, 3, 4), window(6, 4, 3, 4));
        assert_eq!(part(8, 5, 3, 2), window(13, 7, 2, 1));
        assert_eq!(part(20, 30, 0, 0), window(14, 7, 1, 1));
    }

    const GRAY: Component =
        Component { plane: 1, offset: 2, step: 3, x_shift: 1, y_shift: 1, storage: Storage::Byte };

    /// 5 × 3 pixels have 3 × 2 samples: the last one is byte 1 · 10 + 2 + 2 · 3 = 18.
    #[test]
    fn errors_say_what_is_missing() {
        let frame = |width, height, len: usize, stride| {
            let data = vec![0; len];
            let planes = [Plane::default(), Plane { data: &data, stride }, Plane::default()];
            Frame::new(layout([GRAY; 3]), Window::whole(width, height), planes).map(|_| ())
        };
        assert_eq!(GRAY.row_bytes(5), 9);
        assert_eq!(frame(5, 3, 19, 10), Ok(()));
        let truncated = |needed, found| {
            Err(FrameError::Truncated { plane: 1, width: 5, height: 3, needed, found })
        };
        assert_eq!(frame(5, 3, 18, 10), truncated(19, 18));
        assert_eq!(frame(5, 3, 19, usize::MAX), truncated(usize::MAX, 19));
        assert_eq!(frame(0, 3, 19, 10), Err(FrameError::Empty { width: 0, height: 3 }));
        assert_eq!(frame(5, 0, 19, 10), Err(FrameError::Empty { width: 5, height: 0 }));
    }

    #[test]
    fn a_plane_behind_the_end_of_its_memory_is_truncated() {
        let planes = [PlaneMut { memory: 0, offset: 9, stride: 1 }; PLANES];
        let mut memory = [0; 8];
        let memories: [&mut [u8]; PLANES] = [&mut memory, &mut [], &mut [], &mut []];
        let window = Window::whole(1, 1);
        let frame = FrameMut::new(layout([GRAY; 3]), None, window, memories, planes);
        let expected = FrameError::Truncated { plane: 1, width: 1, height: 1, needed: 3, found: 0 };
        assert_eq!(frame.map(|_| ()), Err(expected));
    }

    #[test]
    fn gray_has_one_component_of_its_own() {
        let mut layout = layout([GRAY; 3]);
        assert_eq!(layout.distinct().len(), 3);
        layout.colour = Colour::Yuv(Luma::new(true), Chroma::new(0.299, 0.114, true));
        assert_eq!(layout.distinct().len(), 3);
        layout.colour = Colour::Gray(Luma::new(true));
        assert_eq!(layout.distinct(), [GRAY]);
    }
}
