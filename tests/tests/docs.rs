//! The documents: each command block is run here, or says which test does what it says, or why
//! none does; each file that is shown is one that flatnet takes.

use std::fs;
use std::process::Command;

use flatnet_tests::document::{Block, Mark, all, blocks};
use flatnet_tests::netns::Netns;
use flatnet_tests::program::{finish, ours, said, workspace};
use flatnet_tests::scene::Scene;
use serde_json::{Value, json};

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
        // Those in a Kubernetes are steps, which share a cluster; those with an etcd alone are not.
        let (path, function) = match file.strip_prefix("cluster/") {
            Some(file) if !file.starts_with("etcd/") => {
                (format!("tests/cluster/tests/{file}.rs"), format!("\nfn {test}(cluster:"))
            }
            Some(file) => {
                (format!("tests/cluster/tests/{file}.rs"), format!("#[test]\nfn {test}()"))
            }
            None => (format!("tests/tests/{file}.rs"), format!("#[test]\nfn {test}()")),
        };
        let text = fs::read_to_string(workspace().join(path)).unwrap_or_default();
        if !text.contains(&function) {
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

/// The block of a document that has these words.
fn block(document: &str, words: &str) -> Block {
    let mut blocks = blocks(&workspace().join("docs").join(document)).into_iter();
    blocks.find(|block| block.text.contains(words)).unwrap_or_else(|| panic!("{document}: {words}"))
}

fn ok(scene: &mut Scene, node: Option<&str>, commands: &str) {
    scene.run(node, commands).unwrap_or_else(|said| panic!("{said}\nin:\n{commands}"));
}

/// Puts a program of this name before all others, on `node-a`.
fn stand_in(scene: &mut Scene, name: &str, script: &str) {
    let file = format!("cat >bin/{name} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod +x bin/{name}\n");
    ok(scene, Some("node-a"), &format!("mkdir -p bin\n{file}PATH=$PWD/bin:$PATH"));
}

#[test]
fn a_clusters_nodes_become_a_range_file() {
    let node = |name: &str, addresses: &[(&str, &str)], ranges: Value| {
        let address = |(kind, address)| json!({ "type": kind, "address": address });
        let addresses: Vec<Value> = addresses.iter().copied().map(address).collect();
        json!({ "metadata": { "name": name }, "status": { "addresses": addresses },
                "spec": { "podCIDR": ranges[0], "podCIDRs": ranges } })
    };
    let ranges = [json!(["10.244.0.0/24"]), json!(["10.244.1.0/24", "10.244.2.0/24"])];
    let addresses =
        [("Hostname", "one"), ("ExternalIP", "203.0.113.7"), ("InternalIP", "10.0.0.7")];
    let items = [
        node("one", &addresses, ranges[0].clone()),
        node("two", &[("InternalIP", "10.0.0.8"), ("Hostname", "two")], ranges[1].clone()),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let expected = json!({ "version": 1, "clusterCIDRs": ["10.244.0.0/16"], "nodes": [
        { "name": "one", "vtep": "10.0.0.7", "ranges": ranges[0] },
        { "name": "two", "vtep": "10.0.0.8", "ranges": ranges[1] } ] });

    let mut scene = Scene::new();
    let asked = "test \"$*\" = 'get nodes --output json'";
    stand_in(&mut scene, "kubectl", &format!("{asked} && echo '{list}'"));
    ok(&mut scene, Some("node-a"), &block("runtimes.md", "kubectl get nodes").text);
    let written = "jq --sort-keys --compact-output . pods.json";
    ok(&mut scene, Some("node-a"), &format!("diff <({written}) <(echo '{expected}')"));
}

/// A network without other plugins on both nodes, and a pod on each.
const TWO_PODS: &str = r#"
flatnet ranges init --cluster-cidr 10.244.0.0/16 --node node-a=192.168.50.1 --node node-b=192.168.50.2 \
    --output pods.json
mkdir net.d
cat >net.d/pods.conflist <<END
{ "cniVersion": "1.0.0", "name": "pods", "plugins": [ { "type": "flatnet", "rangeFile": "$PWD/pods.json" } ] }
END
export NETCONFPATH=$PWD/net.d CNI_PATH=$(dirname "$(command -v flatnet)")
ip netns add pod
number=$(ip -4 -o addr show to 192.168.50.0/24 | sed 's/.*192.168.50.\([12]\).*/\1/')
CNI_ARGS=IP=10.244.$((number - 1)).1 cnitool add pods /run/netns/pod
"#;

#[test]
fn the_firewall_rules_let_pods_through() {
    let chain = "{ type filter hook input priority 0; policy drop; }";
    let filters = [
        (
            format!("nft 'add table inet filter; add chain inet filter input {chain}'"),
            block("quick-start.md", "nft add rule"),
        ),
        ("iptables -P FORWARD DROP".to_owned(), block("troubleshooting.md", "iptables -I FORWARD")),
    ];
    let ping = "ip netns exec pod ping -c 1 -W 5 10.244.1.1";
    let mut scene = Scene::new();
    ok(&mut scene, None, TWO_PODS);
    ok(&mut scene, Some("node-a"), ping);
    for (drops, lets) in filters {
        ok(&mut scene, None, &drops);
        ok(&mut scene, Some("node-a"), &format!("if {ping}; then false; fi"));
        ok(&mut scene, None, &lets.text);
        ok(&mut scene, Some("node-a"), ping);
    }
}

/// What flanneld and the configuration of its manifest make of a node, and a pod that came and went.
const FLANNEL: &str = r#"
mkdir /run/flannel
cat >/run/flannel/subnet.env <<END
FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.0.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
END
ip link add flannel.1 type vxlan id 1 local 192.168.50.1 dstport 8472 nolearning
ip addr add 10.244.0.0/32 dev flannel.1
ip link set flannel.1 up
ip route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
mkdir -p old.d
cat >old.d/10-flannel.conflist <<END
{ "name": "cbr0", "cniVersion": "0.3.1", "plugins": [
    { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } } ] }
END
ip netns add old
for verb in add del; do
    NETCONFPATH=$PWD/old.d CNI_PATH=$(dirname "$(command -v cnitool)") cnitool $verb cbr0 /run/netns/old
done
ip link show cni0
ls -d /var/lib/cni/flannel /var/lib/cni/networks/cbr0
"#;

#[test]
fn what_flannel_leaves_goes() {
    let mut scene = Scene::new();
    ok(&mut scene, Some("node-a"), FLANNEL);
    ok(&mut scene, Some("node-a"), &block("migrating.md", "ip link delete cni0").text);
    let folders = "/run/flannel /var/lib/cni/flannel /var/lib/cni/networks/cbr0";
    ok(&mut scene, Some("node-a"), &format!("for left in {folders}; do test ! -e $left; done"));
    ok(
        &mut scene,
        Some("node-a"),
        "if ip -o route show root 10.244.0.0/16 | grep .; then false; fi",
    );
    ok(&mut scene, None, TWO_PODS);
    ok(&mut scene, Some("node-a"), "ip netns exec pod ping -c 1 -W 5 10.244.1.1");
}

/// As GitHub does: each step in a shell of its own, in the folder of the repository.
#[test]
fn the_workflow_works() {
    let text = block("ci.md", "runs-on:").text;
    let workflow: Value = serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let folder = tempfile::tempdir().unwrap();
    let mut pack = Command::new(workspace().join("packaging/build"));
    let output = finish(pack.arg("tarball").arg(folder.path()), b"");
    assert!(output.status.success(), "{}", said(&output));
    let archive = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();

    let mut scene = Scene::new();
    stand_in(&mut scene, "sudo", "exec \"$@\"");
    let version = env!("CARGO_PKG_VERSION");
    let prepared = format!(
        "mkdir ci\n\
         cp {} ci/flatnet-{version}-linux-x86_64.tar.gz\n\
         printf '#!/bin/sh\\nping -c 1 $1\\n' >test-against\n\
         chmod +x test-against\n\
         PATH=$PWD/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        archive.display()
    );
    ok(&mut scene, Some("node-a"), &prepared);
    let steps = workflow["jobs"]["test"]["steps"].as_array().expect("steps");
    let runs: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert!(runs.len() > 5, "{steps:?}");
    for run in runs {
        ok(&mut scene, Some("node-a"), &format!("(\nset +uo pipefail\n{run}\n)"));
    }
    ok(&mut scene, Some("node-a"), "if ls /run/netns | grep ^lab-; then false; fi");
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

/// What stands in backticks and begins with one of our folders is a file or a folder.
#[test]
fn every_file_that_is_named_exists() {
    const FOLDERS: [&str; 8] =
        [".ci/", "agent/", "conf/", "docs/", "ipam/", "packaging/", "plugin/", "tests/"];
    let mut documents = all();
    documents.extend(["ARCHITECTURE.md", "SECURITY.md"].map(|name| workspace().join(name)));
    let (mut checked, mut missing) = (0, Vec::new());
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let outside: String = text.split("```").step_by(2).collect();
        let quoted = outside.split('`').skip(1).step_by(2);
        let named = quoted.filter_map(|words| words.split(&[' ', ':']).next());
        for path in named.filter(|path| FOLDERS.iter().any(|folder| path.starts_with(folder))) {
            checked += 1;
            // A pattern, or a file of which only the folder is meant.
            let plain = !path.contains(['*', '$']) && !path.contains("FILE");
            if plain && !workspace().join(path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 50, "{checked}");
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
    // A machine of its own: what is installed here is another's.
    let netns = Netns::new("shown");
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
            let target = folder.path().join(checked[1].to_string());
            flatnet.arg("install").arg("--conf").arg(&file);
            flatnet.arg("--conf-dir").arg(&target).arg("--cni-bin-dir").arg(&target);
        } else {
            continue;
        }
        let output = netns.finish(&mut flatnet, b"");
        // The machine of the test is no node of theirs: a finding, no failure.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {}", block.place, said(&output));
    }
    assert!(checked.iter().all(|&count| count > 0), "{checked:?}");
}
