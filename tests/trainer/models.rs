//! Model files that cannot be used: one line that names the file and what is wrong in it, and no panic.

#[path = "../../src/model/file/tests/damage.rs"]
#[macro_use]
mod damage;

use super::errors::assert_fails;
use super::{Folder, parts, run, succeed};

/// Asserts that the program says one thing, an error with all of `words`, and fails.
fn assert_refused(arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    assert_fails(&output, words);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints, too");
}

fn refuse(damaged: &damage::Damaged) {
    let folder = Folder::new();
    let (model, pictures) = (folder.text("m.safetensors"), folder.text("good"));
    parts(&folder.path("good"), 1, [20, 20]);
    std::fs::write(&model, &damaged.bytes).unwrap();
    let words = [model.as_str(), damaged.reason];
    assert_refused(&["info", &model], &words);
    assert_refused(&["run", &model, &pictures, "-o", &folder.text("out")], &words);
    assert_eq!(folder.names(""), ["good", "m.safetensors"]);
}

each_damage!(refuse);

#[test]
fn a_missing_file_is_refused() {
    let folder = Folder::new();
    let model = folder.text("none.safetensors");
    assert_refused(&["info", &model], &[&model, "No such file"]);
}

#[test]
fn a_task_that_cannot_be_run_is_named_and_others_run() {
    let folder = Folder::new();
    let (model, pictures, out) = (folder.text("m.safetensors"), folder.text("good"), folder.text("out"));
    parts(&folder.path("good"), 1, [20, 20]);
    std::fs::write(&model, damage::whole("embed")).unwrap();
    assert!(succeed(&["info", &model]).contains("embed"));
    assert_refused(&["run", &model, &pictures, "-o", &out], &[&model, "`embed`"]);
    std::fs::write(&model, damage::whole("denoise")).unwrap();
    succeed(&["run", &model, &pictures, "-o", &out]);
    assert_eq!(folder.names("out"), ["000.png"]);
}
