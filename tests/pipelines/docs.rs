//! The pages that are made from the elements.

use std::path::Path;

use crate::{EXAMPLES, Folder, program, succeed};

#[test]
fn the_elements_pages_are_current() {
    let made = Folder::new();
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    succeed(program(EXAMPLES.join("element_docs"), &[made.path().to_str().unwrap()]));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/elements");
    let mut names = made.names();
    assert!(
        names.len() > 6 && names.contains(&"candleanomaly.md".to_owned()),
        "{names:?}"
    );
    names.extend(
        std::fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap()),
    );
    let old: Vec<_> = names
        .iter()
        .filter(|name| text(&made.path().join(name)) != text(&kept.join(name)))
        .collect();
    assert!(
        old.is_empty(),
        "docs/elements is not what the elements are now: run `make docs-elements` and commit {old:?}"
    );
}
