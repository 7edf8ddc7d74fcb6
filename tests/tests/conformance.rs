//! The conformance table names tests that are there.

use std::fs;

use flatnet_tests::program::workspace;

#[test]
fn every_test_that_the_table_names_exists() {
    let table = fs::read_to_string(workspace().join("docs/conformance.md")).unwrap();
    let quoted = table.split('`').skip(1).step_by(2);
    let named: Vec<(&str, &str)> = quoted.filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() > 50, "{}", named.len());
    for (file, test) in named {
        let path = workspace().join(format!("tests/tests/{file}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let head = format!("#[test]\nfn {test}()");
        assert!(text.contains(&head), "{file}.rs has no test {test}");
    }
}
