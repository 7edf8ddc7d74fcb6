//! The documents: each command block is run here, or says which test does what it says, or why
//! nobody does; each file that is shown is one that flatnet takes.

use std::fs;
use std::process::Command;

use flatnet_tests::document::{Block, Mark, all, blocks};
use flatnet_tests::program::{finish, ours, said, workspace};
use flatnet_tests::scene::Scene;
use serde_json::Value;

#[test]
fn every_command_block_says_how_it_is_known_to_work() {
    let mut problems = Vec::new();
    let mut marks = Vec::new();
    for block in all().iter().flat_map(|path| blocks(path)) {
        match block.language() {
            "sh" => match block.mark() {
                Ok(mark) => marks.push((block.place, mark)),
                Err(problem) => problems.push(problem),
            },
            // What is printed, drawn or written into a file; commands would show by their prompt.
            "" | "json" | "toml" | "yaml" | "hcl" | "ini" => {
                if block
                    .text
                    .lines()
                    .any(|line| line.starts_with("$ ") || line.starts_with("sudo "))
                {
                    problems.push(format!("{}: commands are marked as sh", block.place));
                }
            }
            other => problems.push(format!("{}: write sh, not {other}", block.place)),
        }
    }
    let named = marks.iter().filter_map(|(place, mark)| match mark {
        Mark::Tested(tests) => Some(tests.iter().map(move |test| (place, test))),
        _ => None,
    });
    for (place, (file, test)) in named.flatten() {
        let path = workspace().join(format!("tests/tests/{file}.rs"));
        let text = fs::read_to_string(path).unwrap_or_default();
        if !text.contains(&format!("#[test]\nfn {test}()")) {
            problems.push(format!("{place}: {file}.rs has no test {test}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(marks.iter().any(|(_, mark)| matches!(mark, Mark::Run(_))));
}

#[test]
fn the_commands_of_the_documents_work() {
    for path in all() {
        let run = |block: Block| match (block.language(), block.mark()) {
            ("sh", Ok(Mark::Run(node))) => Some((block, node)),
            _ => None,
        };
        let mut scene = None;
        for (block, node) in blocks(&path).into_iter().filter_map(run) {
            let scene = scene.get_or_insert_with(Scene::new);
            if let Err(said) = scene.run(node.as_deref(), &block.text) {
                panic!("{}: {said}\nin:\n{}", block.place, block.text);
            }
        }
    }
}

#[test]
fn a_command_that_fails_is_noticed() {
    let mut scene = Scene::new();
    scene.run(None, "echo fine; touch /etc/flatnet-was-here").unwrap();
    assert!(!fs::exists("/etc/flatnet-was-here").unwrap(), "the scene leaks");
    let said = scene.run(Some("node-b"), "echo before\nfalse\necho behind").unwrap_err();
    assert!(said.contains("before") && !said.contains("behind"), "{said}");
    assert!(scene.run(Some("node-c"), "true").is_err());
}

#[test]
fn every_link_within_the_project_leads_somewhere() {
    let mut checked = 0;
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let there = fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {target}: {error}", path.display()));
            let found = heading.is_empty() || there.lines().any(|line| anchor(line) == heading);
            assert!(found, "{}: {target}: no such heading", path.display());
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

/// The anchor that GitHub gives to a heading.
fn anchor(line: &str) -> String {
    let text = line.trim_start_matches('#').trim();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Lists of other main plugins show `flatnet-ipam`.
fn has_flatnet(plugins: &[Value]) -> bool {
    plugins.iter().any(|plugin| plugin["type"] == "flatnet")
}

#[test]
fn the_files_that_are_shown_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = [0; 2];
    let shown = all().into_iter().flat_map(|path| blocks(&path));
    for block in shown.filter(|block| block.language() == "json") {
        let value: Value = serde_json::from_str(&block.text)
            .unwrap_or_else(|error| panic!("{}: {error}", block.place));
        let file = folder.path().join("shown.conflist");
        fs::write(&file, &block.text).unwrap();
        let mut flatnet = Command::new(ours("flatnet"));
        flatnet.env_remove("CNI_COMMAND");
        if value.get("nodes").is_some() {
            checked[0] += 1;
            flatnet.args(["ranges", "check"]).arg(&file);
        } else if value["plugins"].as_array().is_some_and(|plugins| has_flatnet(plugins)) {
            checked[1] += 1;
            let target = tempfile::tempdir().unwrap();
            flatnet.arg("install").arg("--conf").arg(&file);
            flatnet.arg("--conf-dir").arg(target.path()).arg("--cni-bin-dir").arg(target.path());
        } else {
            continue;
        }
        let output = finish(&mut flatnet, b"");
        assert!(output.status.success(), "{}: {}", block.place, said(&output));
    }
    assert!(checked.iter().all(|&count| count > 0), "{checked:?}");
}
