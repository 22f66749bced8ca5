//! Writes `docs/elements`: a page for each element of the plugins, from what the element says of itself and its source says of it, and one of
//! what the elements tell.
//!
//!     make docs-elements
//!
//! Nothing of it depends on GStreamer's version: what base classes bring is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gst::glib::{self, ParamFlags, ParamSpec};
use gst::prelude::*;

const MADE: &str = "<!-- Made by `make docs-elements` from the elements and their source: change those. -->\n\n";

/// Where the source says what the elements tell, by the headings in `results.md`.
const TOLD: [(&str, &str); 3] = [
    ("On the bus", "plugins/candle/src/common/messages.rs"),
    ("On the bus: another model", "plugins/candle/src/common/reload.rs"),
    ("On the frame", "plugins/candle/src/common/result.rs"),
];

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [out] = arguments.as_slice() else {
        bail!("usage: element_docs OUT, with the plugins in GST_PLUGIN_PATH");
    };
    gst::init()?;
    let elements = elements()?;
    let mut pages = BTreeMap::from([
        ("README.md".to_owned(), index(&elements)),
        ("results.md".to_owned(), results()?),
    ]);
    for element in &elements {
        pages.insert(format!("{}.md", element.name()), page(element)?);
    }
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for entry in std::fs::read_dir(out)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".md") && !pages.contains_key(name) {
            std::fs::remove_file(&path)?;
        }
    }
    for (name, text) in pages {
        std::fs::write(out.join(&name), text).with_context(|| name)?;
    }
    Ok(())
}

/// The elements of all plugins of this project, by name.
fn elements() -> Result<Vec<gst::ElementFactory>> {
    let registry = gst::Registry::get();
    let plugins = registry.plugins();
    let ours = plugins
        .iter()
        .filter(|plugin| plugin.plugin_name().starts_with("candle"));
    let features = ours.flat_map(|plugin| registry.features_by_plugin(&plugin.plugin_name()));
    let mut elements: Vec<_> = features.filter_map(|feature| feature.downcast().ok()).collect();
    ensure!(
        !elements.is_empty(),
        "no plugins: is GST_PLUGIN_PATH set to their folder?"
    );
    elements.sort_by_key(|element: &gst::ElementFactory| element.name());
    Ok(elements)
}

const ABOUT_PRESETS: &str = "\
Presets are settings under a name. A program loads one by `gst_preset_load_preset (GST_PRESET (element), \"NAME\")`, in Python by
`element.load_preset(\"NAME\")`, and saves its user's by `gst_preset_save_preset`. GStreamer looks for them where `make install` puts them, in the
folders of `GST_PRESET_PATH` (`target/gst-plugins/presets` after `make build`), and for the user's own in `~/.local/share/gstreamer-1.0/presets`.
A preset keeps what tunes an element while it runs; the model, the device and what is true of one camera stay as they are.
";

fn index(elements: &[gst::ElementFactory]) -> String {
    let mut text = format!("{MADE}# The elements\n\n| element | does |\n|---|---|\n");
    for element in elements {
        let (name, does) = (element.name(), element.metadata("description").unwrap_or_default());
        let _ = writeln!(text, "| [`{name}`]({name}.md) | {does} |");
    }
    text.push_str(
        "\n[results.md](results.md) says what they tell: messages on the bus, and what they leave on frames.\n\n",
    );
    text + ABOUT_PRESETS
}

fn results() -> Result<String> {
    let mut text = format!("{MADE}# What the elements tell\n");
    for (title, path) in TOLD {
        let source = read(&root().join(path))?;
        let lines: Vec<_> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let _ = write!(text, "\n## {title}\n\n{}", markdown(&lines, 2));
    }
    Ok(text)
}

fn page(factory: &gst::ElementFactory) -> Result<String> {
    let element = factory.create().build()?;
    let data = |key| factory.metadata(key).unwrap_or_default();
    let plugin = factory.plugin().map(|plugin| plugin.plugin_name()).unwrap_or_default();
    let description = documentation(&factory.name())?.unwrap_or_else(|| format!("{}.\n", data("description")));
    let mut text = format!("{MADE}# {}\n\n{description}", factory.name());
    let _ = writeln!(
        text,
        "\n{}, of the class `{}`, in the plugin `{plugin}`.",
        data("long-name"),
        data("klass")
    );
    let own: Vec<_> = element
        .list_properties()
        .iter()
        .filter(|property| property.owner_type() == element.type_())
        .cloned()
        .collect();
    if own.iter().any(|property| property.name() == "post-messages") {
        text.push_str("What it tells on the bus and leaves on frames: [results.md](results.md).\n");
    }
    text.push_str("\n## Properties\n\n| name | type | default | set | meaning |\n|---|---|---|---|---|\n");
    own.iter().for_each(|property| text.push_str(&property_row(property)));
    text.push_str("\nThose that base classes bring are not listed; `gst-inspect-1.0` shows them.\n");
    text.push_str("\n## Pads\n\n| name | direction | presence | caps |\n|---|---|---|---|\n");
    let mut templates: Vec<_> = factory.static_pad_templates().into_iter().collect();
    templates.sort_by_key(|template| (template.direction() == gst::PadDirection::Src, template.name_template()));
    for template in templates {
        let (name, caps) = (template.name_template(), caps_text(&template.caps()));
        let (direction, presence) = (
            nick(&template.direction().to_value()),
            nick(&template.presence().to_value()),
        );
        let _ = writeln!(text, "| `{name}` | {direction} | {presence} | {caps} |");
    }
    text.push_str(&presets(element.type_().name())?);
    Ok(text)
}

fn property_row(property: &ParamSpec) -> String {
    let blurb = property.blurb().unwrap_or_default();
    let (type_, default) = type_and_default(property);
    let mut meaning = blurb.to_owned();
    for (nick, name) in named_values(property) {
        let _ = write!(meaning, "<br>`{nick}`: {name}");
    }
    format!(
        "| `{}` | {type_} | {default} | {} | {} |\n",
        property.name(),
        when(property.flags()),
        meaning.replace('|', "\\|")
    )
}

/// Nicks and names of the values of a property that has some of its own.
fn named_values(property: &ParamSpec) -> Vec<(String, String)> {
    let text = |nick: &str, name: &str| (nick.to_owned(), name.to_owned());
    if let Some(one) = property.downcast_ref::<glib::ParamSpecEnum>() {
        let class = one.enum_class();
        class.values().iter().map(|v| text(v.nick(), v.name())).collect()
    } else if let Some(some) = property.downcast_ref::<glib::ParamSpecFlags>() {
        let class = some.flags_class();
        class.values().iter().map(|v| text(v.nick(), v.name())).collect()
    } else {
        Vec::new()
    }
}

/// When a property can be set.
fn when(flags: ParamFlags) -> String {
    let when = if !flags.contains(ParamFlags::WRITABLE) {
        "read-only"
    } else if flags.contains(ParamFlags::CONSTRUCT_ONLY) {
        "when it is made"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        "at any time"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PAUSED) {
        "up to PAUSED"
    } else {
        "up to READY"
    };
    let controllable = flags.contains(gst::PARAM_FLAG_CONTROLLABLE);
    format!("{when}{}", if controllable { ", controllable" } else { "" })
}

/// What a property takes, and what it is before anybody sets it.
fn type_and_default(property: &ParamSpec) -> (String, String) {
    macro_rules! number {
        ($spec:ty, $name:expr, $type:ty) => {
            if let Some(spec) = property.downcast_ref::<$spec>() {
                let (least, most) = (spec.minimum(), spec.maximum());
                let range = range(
                    (least > <$type>::MIN || least == <$type>::default()).then(|| least.to_string()),
                    (most < <$type>::MAX).then(|| most.to_string()),
                );
                return (format!("{}{range}", $name), spec.default_value().to_string());
            }
        };
    }
    number!(glib::ParamSpecInt, "integer", i32);
    number!(glib::ParamSpecUInt, "integer", u32);
    number!(glib::ParamSpecInt64, "integer", i64);
    number!(glib::ParamSpecUInt64, "integer", u64);
    number!(glib::ParamSpecFloat, "number", f32);
    number!(glib::ParamSpecDouble, "number", f64);
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecBoolean>() {
        return ("boolean".into(), spec.default_value().to_string());
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecString>() {
        let default = spec.default_value().filter(|text| !text.is_empty());
        return (
            "text".into(),
            default.map_or_else(|| "none".into(), |text| format!("`{text}`")),
        );
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecEnum>() {
        let class = spec.enum_class();
        let default = class
            .value(spec.default_value_as_i32())
            .map_or("", |value| value.nick());
        return ("one of those named".into(), format!("`{default}`"));
    }
    if let Some(spec) = property.downcast_ref::<glib::ParamSpecFlags>() {
        let class = spec.flags_class();
        let bits = spec.default_value_as_u32();
        let set = class
            .values()
            .iter()
            .filter(|value| value.value() != 0 && value.value() & bits == value.value());
        let set: Vec<&str> = set.map(|value| value.nick()).collect();
        return (
            "some of those named, joined by +".into(),
            format!("`{}`", set.join("+")),
        );
    }
    (format!("`{}`", property.value_type().name()), String::new())
}

fn range(least: Option<String>, most: Option<String>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        (None, Some(most)) => format!(", up to {most}"),
        (None, None) => String::new(),
    }
}

fn caps_text(caps: &gst::Caps) -> String {
    if caps.is_any() {
        return "any".into();
    }
    let structures = caps.iter_with_features().map(|(structure, features)| {
        let memory = if features.contains(gst::CAPS_FEATURE_MEMORY_SYSTEM_MEMORY) {
            String::new()
        } else {
            format!("({features})")
        };
        let fields = structure
            .iter()
            .map(|(name, value)| format!("<br>{name}: {}", value_text(value)));
        format!("`{}{memory}`{}", structure.name(), fields.collect::<String>())
    });
    structures.collect::<Vec<_>>().join("<br>")
}

fn value_text(value: &glib::Value) -> String {
    if let Ok(list) = value.get::<gst::List>() {
        return list
            .iter()
            .map(|value| value_text(value))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Ok(range) = value.get::<gst::IntRange<i32>>() {
        let most = (range.max() < i32::MAX).then(|| range.max().to_string());
        return most.map_or_else(
            || format!("{} or more", range.min()),
            |most| format!("{} to {most}", range.min()),
        );
    }
    if let Ok(range) = value.get::<gst::FractionRange>() {
        let rate = |rate: gst::Fraction| match (rate.numer(), rate.denom()) {
            (i32::MAX, 1) => "any".to_owned(),
            (numer, 1) => numer.to_string(),
            (numer, denom) => format!("{numer}/{denom}"),
        };
        return format!("{} to {}", rate(range.min()), rate(range.max()));
    }
    value
        .get::<String>()
        .unwrap_or_else(|_| value.type_().name().to_owned())
}

/// The short name of an enumeration's value.
fn nick(value: &glib::Value) -> String {
    glib::EnumValue::from_value(value).map_or_else(String::new, |(_, value)| value.nick().to_owned())
}

/// The presets that come with the element of this type, if any.
fn presets(type_name: &str) -> Result<String> {
    let path = root()
        .join("plugins/candle/presets")
        .join(type_name)
        .with_extension("prs");
    if !path.exists() {
        return Ok(String::new());
    }
    let file = glib::KeyFile::new();
    file.load_from_file(&path, glib::KeyFileFlags::NONE)?;
    let mut text = String::from("\n## Presets\n\n| name | for what | sets |\n|---|---|---|\n");
    for name in file.groups().iter().filter(|name| !name.starts_with('_')) {
        let mut sets = Vec::new();
        for key in file.keys(name)?.iter().filter(|key| !key.starts_with('_')) {
            sets.push(format!("`{key}={}`", file.value(name, key)?));
        }
        let meaning = file.value(name, "_meta/comment")?;
        let _ = writeln!(text, "| `{name}` | {meaning} | {} |", sets.join(" "));
    }
    Ok(text)
}

/// The doc comment of the element's type, which stands in its folder, at the wrapper or at what implements it: the longer one.
fn documentation(element: &str) -> Result<Option<String>> {
    let folder = element.trim_start_matches("candle");
    let mut found = Vec::new();
    for plugin in std::fs::read_dir(root().join("plugins"))? {
        for file in ["mod.rs", "imp.rs"] {
            let path = plugin.as_ref().map_or_else(|_| PathBuf::new(), |plugin| plugin.path());
            let path = path.join("src").join(folder).join(file);
            if path.exists() {
                found.extend(doc_comment(&read(&path)?));
            }
        }
    }
    Ok(found.into_iter().max_by_key(|text| text.len()))
}

/// The comment before `pub struct Candle…`.
fn doc_comment(source: &str) -> Option<String> {
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    let end = lines.iter().position(|line| line.starts_with("pub struct Candle"))?;
    let is_part = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    let start = end - lines[..end].iter().rev().take_while(is_part).count();
    let comment: Vec<_> = lines[start..end]
        .iter()
        .filter_map(|line| line.strip_prefix("///"))
        .collect();
    Some(markdown(&comment, 1))
}

/// The lines of a doc comment as a part of a page, its headings below those of the given level; links to Rust items become names.
fn markdown(comment: &[&str], level: usize) -> String {
    let mut text = String::new();
    for line in comment {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.starts_with('#') {
            text.push_str(&"#".repeat(level));
        }
        let line = if line.contains("](") {
            line.to_owned()
        } else {
            line.replace("[`", "`").replace("`]", "`")
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
