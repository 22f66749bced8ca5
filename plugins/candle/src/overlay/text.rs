//! Text as pictures.

use gst_candle::pixels::blend::Layer;

/// Why text could not be drawn.
#[derive(Debug)]
pub struct TextError(String);

impl std::fmt::Display for TextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<cairo::Error> for TextError {
    fn from(error: cairo::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<cairo::BorrowError> for TextError {
    fn from(error: cairo::BorrowError) -> Self {
        Self(error.to_string())
    }
}

/// A picture to lay over a frame.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    pub pixels: Vec<u32>,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Picture {
    /// To blend it over a frame.
    pub fn layer(&self) -> Layer<'_> {
        Layer::new(&self.pixels, self.width)
    }

    /// Takes what was drawn on a surface of the format ARgb32.
    pub fn of(surface: cairo::ImageSurface) -> Result<Self, TextError> {
        let (width, height) = (surface.width() as usize, surface.height() as usize);
        let stride = surface.stride() as usize;
        let data = surface.take_data()?;
        let rows = data.chunks_exact(stride).take(height);
        let pixels = rows.flat_map(|row| {
            row.as_chunks().0[..width]
                .iter()
                .map(|&bytes| u32::from_ne_bytes(bytes))
        });
        Ok(Self {
            pixels: pixels.collect(),
            width,
            height,
        })
    }
}

/// What a picture of text was made of.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    height: usize,
    width: usize,
    color: [f32; 3],
}

/// Pictures of texts that were drawn lately.
#[derive(Debug, Default)]
pub struct TextCache {
    entries: Vec<Entry>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    text: String,
    key: Key,
    picture: Picture,
    used: u64,
}

impl TextCache {
    /// Enough for all that is on a frame, and for what comes and goes.
    const MOST: usize = 96;

    /// As [`picture`], drawn only if it was not lately.
    pub fn picture(&mut self, text: &str, height: usize, width: usize, color: [f32; 3]) -> Result<&Picture, TextError> {
        let key = Key { height, width, color };
        self.uses += 1;
        let known = self
            .entries
            .iter()
            .position(|entry| entry.key == key && entry.text == text);
        let index = match known {
            Some(index) => index,
            None => {
                let picture = picture(text, height, width, color)?;
                let entry = Entry {
                    text: text.to_owned(),
                    key,
                    picture,
                    used: self.uses,
                };
                self.insert(entry)
            }
        };
        let entry = &mut self.entries[index];
        entry.used = self.uses;
        Ok(&entry.picture)
    }

    /// Puts it in place of the one that was not used for longest, where there are many.
    fn insert(&mut self, entry: Entry) -> usize {
        let oldest = (0..self.entries.len()).min_by_key(|&index| self.entries[index].used);
        match oldest.filter(|_| self.entries.len() >= Self::MOST) {
            Some(index) => {
                self.entries[index] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }
}

/// A line of text as Pango lays it out, `height` pixels high.
fn layout(text: &str, height: usize) -> Result<pango::Layout, TextError> {
    let surface = cairo::ImageSurface::create(cairo::Format::ARgb32, 1, 1)?;
    let layout = pangocairo::functions::create_layout(&cairo::Context::new(&surface)?);
    let mut font = pango::FontDescription::from_string("sans bold");
    // A line of common fonts is 1.2 times as high as the font's size.
    font.set_absolute_size(height as f64 / 1.2 * f64::from(pango::SCALE));
    layout.set_font_description(Some(&font));
    layout.set_single_paragraph_mode(true);
    layout.set_text(text);
    Ok(layout)
}

/// Draws `text` in `color` (red, green, blue in 0..1), its line `height` pixels high and at most `width` wide; what is longer ends in an ellipsis.
pub fn picture(text: &str, height: usize, width: usize, color: [f32; 3]) -> Result<Picture, TextError> {
    let layout = layout(text, height)?;
    if let Some(width) = i32::try_from(width)
        .ok()
        .and_then(|width| width.checked_mul(pango::SCALE))
    {
        layout.set_ellipsize(pango::EllipsizeMode::End);
        layout.set_width(width);
    }
    let (_, extent) = layout.pixel_extents();

    let surface = cairo::ImageSurface::create(cairo::Format::ARgb32, extent.width().max(1), extent.height().max(1))?;
    let context = cairo::Context::new(&surface)?;
    let [red, green, blue] = color.map(f64::from);
    context.set_source_rgb(red, green, blue);
    context.move_to(f64::from(-extent.x()), f64::from(-extent.y()));
    pangocairo::functions::show_layout(&context, &layout);
    drop(context);

    Picture::of(surface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_its_colour_and_its_size() {
        let short = picture("good", 24, 400, [1.0, 0.0, 0.0]).unwrap();
        assert!((20..=32).contains(&short.height), "{}", short.height);
        assert!((30..100).contains(&short.width), "{}", short.width);
        assert_eq!(short.pixels.len(), short.width * short.height);
        let inked = short.pixels.iter().filter(|&&pixel| pixel >> 24 == 255).count();
        assert!(inked > 50, "{inked}");
        assert!(
            short
                .pixels
                .iter()
                .all(|pixel| pixel & 0xffff == 0 && pixel >> 24 == pixel >> 16 & 0xff)
        );
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        let long = picture(&"scratch\n".repeat(20), 12, 90, [1.0; 3]).unwrap();
        assert!((40..=90).contains(&long.width), "{}", long.width);
        assert!(long.height < 20, "{}", long.height);
        picture("", 12, 0, [1.0; 3]).unwrap();
    }

    #[test]
    fn texts_are_drawn_once_and_the_oldest_forgotten() {
        let mut cache = TextCache::default();
        let kept = cache.picture("kept", 12, 90, [1.0; 3]).unwrap().clone();
        for i in 0..3 * TextCache::MOST {
            cache.picture(&i.to_string(), 12, 90, [1.0; 3]).unwrap();
            let again = cache.picture("kept", 12, 90, [1.0; 3]).unwrap();
            assert_eq!(again.pixels, kept.pixels);
        }
        assert_eq!(cache.entries.len(), TextCache::MOST);
        let red = cache.picture("kept", 12, 90, [1.0, 0.0, 0.0]).unwrap();
        assert_ne!(red.pixels, kept.pixels);
    }
}
