//! The plugin bandwidth behind a flatnet with a fast path: packets that take it pass its limits by, and it finds its place
//! on the device taken. So flatnet must know which pods it limits, by the capability.

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::finding::Finding;

/// Looks at every configuration file that flatnet is in.
pub fn check(files: &[(PathBuf, Vec<u8>)]) -> Vec<Finding> {
    let findings = files.iter().filter_map(|(file, bytes)| {
        let list: Value = serde_json::from_slice(bytes).ok()?;
        judge(&file.display().to_string(), list["plugins"].as_array()?)
    });
    findings.collect()
}

fn judge(file: &str, plugins: &[Value]) -> Option<Finding> {
    let of_type = |kind| plugins.iter().find(|plugin| plugin["type"] == kind);
    let ours = of_type("flatnet").filter(|ours| is_on(&ours["fastPath"]))?;
    let bandwidth = of_type("bandwidth")?;
    let rate = |key| bandwidth[key].as_f64().is_some_and(|rate| rate > 0.0);
    let why = "the ADD of a pod with a limit fails, or the limit is not kept: its place on the pod's device is the fast path's";
    if rate("ingressRate") || rate("egressRate") {
        return Some(Finding::advise(
            format!("{file}: bandwidth limits every pod, and flatnet has \"fastPath\""),
            why,
            format!("set \"fastPath\": false in {file}, or limit single pods by the capability"),
        ));
    }
    (ours["capabilities"]["bandwidth"] != true).then(|| {
        Finding::advise(
            format!(
                "{file}: flatnet has \"fastPath\", and is not told which pods bandwidth limits"
            ),
            why,
            format!("add \"bandwidth\": true to flatnet's \"capabilities\" in {file}"),
        )
    })
}

fn is_on(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(flatnet: Value, bandwidth: Value) -> Option<String> {
        judge("/c", &[flatnet, bandwidth]).map(|finding| finding.words())
    }

    #[test]
    fn flatnet_must_know_whom_bandwidth_limits() {
        let flatnet = |fast: Value, told: bool| json!({ "type": "flatnet", "fastPath": fast, "capabilities": { "bandwidth": told } });
        let bandwidth = json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } });
        let of_all = json!({ "type": "bandwidth", "ingressRate": 1000 });
        let untold = found(flatnet(json!(true), false), bandwidth.clone()).unwrap();
        assert!(untold.contains("add \"bandwidth\": true"), "{untold}");
        assert_eq!(found(flatnet(json!(true), true), bandwidth.clone()), None);
        assert_eq!(found(flatnet(json!(false), false), bandwidth), None);
        assert_eq!(found(flatnet(json!(true), false), json!({ "type": "portmap" })), None);
        let all = found(flatnet(json!(true), true), of_all).unwrap();
        assert!(all.contains("limits every pod"), "{all}");
    }
}
