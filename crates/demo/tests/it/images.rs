//! The images that Istio's own samples name.

use std::fs;
use std::path::Path;

use lateen_demo::resolve;

fn images(folder: &Path, out: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            images(&path, out);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let named =
                text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image:"));
            out.extend(named.map(|image| image.split('#').next().unwrap_or_default().trim().to_owned()));
        }
    }
}

#[test]
fn every_image_of_the_samples_but_databases_and_load_generators_is_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/upstream");
    if !folder.is_dir() {
        println!("skipped: no sample manifests at {}", folder.display());
        return;
    }
    let mut all = Vec::new();
    images(&folder, &mut all);
    assert!(all.len() > 40, "only {} images found", all.len());
    for image in all {
        let other = ["mysqldb", "mongodb", "fortio"].iter().any(|part| image.contains(part));
        assert_eq!(resolve(&image).is_some(), !other, "{image}");
    }
}
