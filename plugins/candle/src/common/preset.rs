//! Settings under a name: the interface `GstPreset`.
//!
//! The library loads and saves; the elements say which properties belong in a preset. The presets that come with the elements lie in
//! `plugins/candle/presets`.

use std::ffi::c_char;

use gst::glib::translate::{Borrowed, IntoGlib, from_glib_borrow};
use gst::glib::{self, gobject_ffi};
use gst::prelude::*;
use gst::subclass::prelude::*;

/// What can be set while frames flow and is no taste of the user's all the same: it is true of one file or of one camera.
const NOT_KEPT: [&str; 2] = ["watch-model", "gray16-white"];

/// Makes presets of `T` keep what [`is_kept`] says; to be called from its `class_init`.
pub fn choose_properties<T: PresetImpl>(class: &mut T::Class) {
    let class = std::ptr::from_mut(class).cast();
    // SAFETY: `PresetImpl` says that the type has the interface. Its own copy of the interface's table is there before `class_init`, and nobody
    // else has it yet. The binding does not let a subclass put a function into it.
    unsafe {
        let table = gobject_ffi::g_type_interface_peek(class, gst::Preset::static_type().into_glib());
        (*table.cast::<gst::ffi::GstPresetInterface>()).get_property_names = Some(property_names);
    }
}

/// The names, as an array that the caller frees.
unsafe extern "C" fn property_names(preset: *mut gst::ffi::GstPreset) -> *mut *mut c_char {
    // SAFETY: the interface's functions are called with an object that has it, and which the caller holds.
    let preset: Borrowed<gst::Preset> = unsafe { from_glib_borrow(preset) };
    let properties = preset.list_properties();
    let kept = properties
        .iter()
        .filter(|property| property.owner_type() == preset.type_() && is_kept(property));
    kept.map(|property| glib::GString::from(property.name()))
        .collect::<glib::StrV>()
        .into_raw()
}

/// Whether a preset keeps this property of an element: what tunes its work while frames flow. Texts are files and places, and belong to
/// one machine and one camera, as do the device and its threads.
fn is_kept(property: &glib::ParamSpec) -> bool {
    let tunes = glib::ParamFlags::READWRITE | gst::PARAM_FLAG_MUTABLE_PLAYING;
    property.flags().contains(tunes)
        && property.value_type() != glib::Type::STRING
        && !NOT_KEPT.contains(&property.name())
}
