//! The committed CRD is what the code gives.

use std::path::Path;

#[test]
fn the_committed_crd_and_the_charts_copy_are_what_the_code_gives() {
    let fresh = kotoba_operator::crdgen::yaml().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in [
        "crds/kotobaclusters.yaml",
        "charts/kotoba-operator/crds-source/kotobaclusters.yaml",
    ] {
        let committed = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            committed == fresh,
            "{file} is not what the code gives: run `make generate`"
        );
    }
}

/// kubectl apply keeps a whole copy of an object in an annotation, which may have 256 KiB.
#[test]
fn the_crd_is_small_enough_for_kubectl_apply() {
    assert!(kotoba_operator::crdgen::yaml().unwrap().len() < 200 * 1024);
}
