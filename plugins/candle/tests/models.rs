//! Model files that cannot be used: in a pipeline, one error that names the file and what is wrong in it.

mod support;

#[path = "../../../src/model/file/tests/damage.rs"]
#[macro_use]
mod damage;

use std::path::Path;

use support::*;

fn launch(model: &Path) -> String {
    let model = model.display();
    format!(
        "videotestsrc num-buffers=2 ! video/x-raw,format=GRAY8,width=16,height=16 ! candledenoise model-file={model} ! fakesink"
    )
}

/// Asserts that a pipeline with the model posts one error, of the resource, that names the file and `reason`; and that the
/// process runs another one afterwards.
fn assert_refused(model: &Path, reason: &str) {
    init();
    let told = errors(&launch(model));
    let [error] = &told[..] else {
        panic!("not one error: {told:?}")
    };
    assert!(error.is::<gst::ResourceError>(), "{error:?}");
    assert!(error.message().contains(model.to_str().unwrap()), "{error}");
    assert!(error.message().contains(reason), "{error}");
    play(&launch(halving().path())).unwrap();
}

fn refuse_file(bytes: &[u8], reason: &str) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.safetensors");
    std::fs::write(&model, bytes).unwrap();
    assert_refused(&model, reason);
}

fn refuse(damaged: &damage::Damaged) {
    refuse_file(&damaged.bytes, damaged.reason);
}

each_damage!(refuse);

#[test]
fn a_missing_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_refused(&folder.path().join("none.safetensors"), "No such file");
}

#[test]
fn another_task_is_refused_and_the_right_one_plays() {
    refuse_file(&damage::whole("embed"), "`embed`, not for `denoise`");
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.safetensors");
    std::fs::write(&model, damage::whole("denoise")).unwrap();
    play(&launch(&model)).unwrap();
}
