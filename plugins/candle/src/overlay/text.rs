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

/// A line of text on nothing.
#[derive(Debug)]
pub struct Picture {
    pixels: Vec<u32>,
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

/// Columns that `text` takes in a line `height` pixels high.
pub fn width(text: &str, height: usize) -> Result<usize, TextError> {
    let (_, extent) = layout(text, height)?.pixel_extents();
    Ok(usize::try_from(extent.width()).unwrap_or(0))
}

/// Draws `text` in `color` (red, green, blue in 0..1), its line `height` pixels high and at most `width` wide; what is longer ends in an ellipsis.
pub fn picture(text: &str, height: usize, width: usize, color: [f32; 3]) -> Result<Picture, TextError> {
    let layout = layout(text, height)?;
    layout.set_ellipsize(pango::EllipsizeMode::End);
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    layout.set_width(width.saturating_mul(pango::SCALE));
    let (_, extent) = layout.pixel_extents();

    let surface = cairo::ImageSurface::create(cairo::Format::ARgb32, extent.width().max(1), extent.height().max(1))?;
    let context = cairo::Context::new(&surface)?;
    let [red, green, blue] = color.map(f64::from);
    context.set_source_rgb(red, green, blue);
    context.move_to(f64::from(-extent.x()), f64::from(-extent.y()));
    pangocairo::functions::show_layout(&context, &layout);
    drop(context);

    let (width, height, stride) = (
        surface.width() as usize,
        surface.height() as usize,
        surface.stride() as usize,
    );
    let data = surface.take_data()?;
    let rows = data.chunks_exact(stride).take(height);
    let pixels = rows.flat_map(|row| {
        row.as_chunks().0[..width]
            .iter()
            .map(|&bytes| u32::from_ne_bytes(bytes))
    });
    Ok(Picture {
        pixels: pixels.collect(),
        width,
        height,
    })
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
        let short = picture("good", 12, 90, [1.0; 3]).unwrap();
        assert_eq!(width("good", 12).unwrap(), short.width);
        assert!(width("good parts", 12).unwrap() > short.width);
    }
}
