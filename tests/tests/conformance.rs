//! The tables of requirements and promises name tests that are there.

use std::fs;

use flatnet_tests::program::workspace;

/// Every `FILE.rs::TEST` that a document quotes is a test, and there are as many as it once had.
fn names_tests(document: &str, least: usize) {
    let table = fs::read_to_string(workspace().join(document)).unwrap();
    let quoted = table.split('`').skip(1).step_by(2);
    let named: Vec<(&str, &str)> = quoted.filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() >= least, "{document}: {}", named.len());
    for (file, test) in named {
        let path = workspace().join(format!("tests/tests/{file}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let head = format!("#[test]\nfn {test}()");
        assert!(text.contains(&head), "{document}: {file}.rs has no test {test}");
    }
}

#[test]
fn every_test_that_the_conformance_table_names_exists() {
    names_tests("docs/conformance.md", 50);
}

#[test]
fn every_promise_of_security_has_its_tests() {
    names_tests("SECURITY.md", 25);
    let text = fs::read_to_string(workspace().join("SECURITY.md")).unwrap();
    let (_, promises) = text.split_once("## What is promised").unwrap();
    let (promises, _) = promises.split_once("\n## ").unwrap();
    // Behind the head and its line.
    for row in promises.lines().filter(|line| line.starts_with('|')).skip(2) {
        assert!(row.contains(".rs::"), "no test shows it: {row}");
    }
}
