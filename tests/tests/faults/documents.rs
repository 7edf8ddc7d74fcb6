//! Hostile input by what is unusual about it: shape, size, bytes.

/// Values for one variable of the environment.
pub fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "..",
        ".",
        "/",
        "a/../../b",
        "../../../../tmp/escaped",
        "-rf",
        "--help",
        "%s%n",
        "$(id)",
        "a\nb",
        "\u{1b}[2J",
        "\u{202e}gnp",
        "é",
        "0",
        "a=b;c=d",
        "IP=;MAC=",
        "IP=::",
        "=;=;=",
        "IgnoreUnknown=1;IP=999",
        "K8S_POD_NAME=../../x;IgnoreUnknown=1",
        "veth0",
        "lo",
        "all",
        "default",
    ]
    .map(str::to_owned)
    .into();
    values.extend([255, 256, 4096, 10_000, 100_000].map(|length| "a".repeat(length)));
    // What one variable can hold, and a little less.
    values.push(format!("IgnoreUnknown=1;{}", "k=v;".repeat(30_000)));
    values.push(format!("IP={}10.244.1.9", "10.244.1.9,".repeat(10_000)));
    values.push(format!("K8S_POD_NAME={}", "\u{1b}[2J\n".repeat(10_000)));
    values.push(format!("{}=", "\u{1b}[2J".repeat(10_000)));
    values
}

/// A text of JSON in which `open` and `close` are nested so deep.
fn deep(open: &str, close: &str, levels: usize) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// A list of this many items, each made of its number.
fn list(length: u32, item: impl Fn(u32) -> String) -> String {
    format!("[{}]", (0..length).map(item).collect::<Vec<_>>().join(","))
}

/// An address for each number, four apart.
fn address(number: u32) -> String {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + 4 * number).to_string()
}

/// JSON values of unusual shape or size, by what is unusual.
fn values_of_json() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for levels in [100, 127, 128, 1000, 200_000] {
        all.push((format!("{levels} lists"), deep("[", "]", levels)));
        all.push((format!("{levels} objects"), deep(r#"{"a":"#, "}", levels)));
    }
    let numbers =
        ["1e999", "-1e999", "99999999999999999999999999", "-1", "1.5", "0x10", "NaN", "01"];
    all.extend(numbers.map(|number| (number.to_owned(), number.to_owned())));
    all.push(("null".into(), "null".into()));
    all.push(("[]".into(), "[]".into()));
    all.push(("an empty key".into(), r#"{"":{"":""}}"#.into()));
    all.push(("an escape sequence".into(), r#"{"\u001b[2J\n":"\u001b[2J\n"}"#.into()));
    all.push(("a long text".into(), format!("\"{}\"", "n".repeat(1_000_000))));
    all.push((
        "many keys".into(),
        format!("{{{}\"\":0}}", (0..20_000).map(|n| format!(r#""k{n}":{n},"#)).collect::<String>()),
    ));
    all
}

/// A document with a byte in the middle that is not UTF-8, or NUL.
fn with_bytes(good: &str) -> Vec<(String, Vec<u8>)> {
    let with = |byte: u8| {
        let mut bytes = good.as_bytes().to_vec();
        bytes.insert(good.len() / 2, byte);
        (format!("byte {byte:#x}"), bytes)
    };
    [0x00, 0x80, 0xc0, 0xff].map(with).into()
}

/// Documents that are mostly long.
fn giants() -> [(String, Vec<u8>); 3] {
    [
        ("100 MB of blanks".into(), vec![b' '; 100 << 20]),
        ("100 MB of brackets".into(), vec![b'['; 100 << 20]),
        ("100 MB of text".into(), [&b"\""[..], &[b'a'; 100 << 20], b"\""].concat()),
    ]
}

/// Configurations that are broken in shape or size, by what is wrong with them.
pub fn configurations(good: &str) -> Vec<(String, Vec<u8>)> {
    let open = good.strip_suffix('}').expect("an object");
    let with = |what: &str| format!("{open},{what}}}").into_bytes();
    let mut all = with_bytes(good);
    let keys = ["x", "prevResult", "runtimeConfig", "mtu", "name", "cniVersion"];
    for (key, (what, value)) in
        keys.iter().flat_map(|key| values_of_json().into_iter().map(move |value| (key, value)))
    {
        all.push((format!("{key}: {what}"), with(&format!(r#""{key}":{value}"#))));
    }
    for key in ["name", "cniVersion", "rangeFile", "stateDir", "x", "prevResult"] {
        all.push((format!("{key} twice"), with(&format!(r#""{key}":"other","{key}":"another""#))));
    }
    for name in ["..", ".", "a/b", "../../tmp/escaped", "", "\\u0000", "\\ud800", "a\\nb"] {
        all.push((format!("name {name}"), with(&format!(r#""name":"{name}""#))));
        let only = format!(r#"{{"cniVersion":"1.1.0","type":"flatnet","name":"{name}"}}"#);
        all.push((format!("only the name {name}"), only.into_bytes()));
    }
    // Where each would be compared with each other, these take minutes.
    let subnet = |n| format!(r#"{{"subnet":"{}/30"}}"#, address(n));
    let address = |n| format!("\"{}\"", address(n));
    let long = [
        format!(r#""routes":{}"#, list(200_000, |n| format!(r#"{{"dst":{}}}"#, address(n)))),
        format!(r#""runtimeConfig":{{"ips":{}}}"#, list(400_000, address)),
        format!(r#""runtimeConfig":{{"ipRanges":[{}]}}"#, list(200_000, subnet)),
        format!(
            r#""runtimeConfig":{{"ipRanges":{}}}"#,
            list(200_000, |n| format!("[{}]", subnet(n)))
        ),
        format!(
            r#""cni.dev/valid-attachments":{}"#,
            list(200_000, |n| format!(r#"{{"containerID":"c{n}","ifname":"e"}}"#))
        ),
        format!(r#""name":"{}""#, "not found".repeat(500_000)),
        format!(
            r#""prevResult":{{"ips":{}}}"#,
            list(200_000, |n| format!(r#"{{"address":"10.0.0.1/{}"}}"#, n % 32))
        ),
    ];
    all.extend(long.map(|what| (format!("{what:.60}"), with(&what))));
    let results = [r#"{"ips":[{"interface":-1,"address":"10.0.0.1/99"}]}"#, r#"{"interfaces":{}}"#];
    all.extend(results.map(|r| (format!("prevResult {r}"), with(&format!(r#""prevResult":{r}"#)))));
    all.extend(giants());
    all
}

/// Range files that are broken in shape or size, by what is wrong with them.
pub fn range_files(good: &str) -> Vec<(String, Vec<u8>)> {
    let open = good.strip_suffix('}').expect("an object");
    let with = |what: &str| format!("{open},{what}}}").into_bytes();
    let mut all = with_bytes(good);
    for (key, (what, value)) in ["x", "port", "clusterCIDRs", "nodes"]
        .iter()
        .flat_map(|key| values_of_json().into_iter().map(move |value| (key, value)))
    {
        // Each of these keys but two is there already.
        all.push((format!("{key}: {what}"), with(&format!(r#""{key}":{value}"#))));
        let only = format!(r#"{{"version":1,"{key}":{value}}}"#);
        all.push((format!("only {key}: {what}"), only.into_bytes()));
    }
    let node = |name: &str, ranges: &str| {
        let text = format!(
            r#"{{"version":1,"nodes":[{{"name":"{name}","vtep":"192.168.50.1","ranges":{ranges}}}]}}"#
        );
        text.into_bytes()
    };
    for name in ["..", ".", "a/b", "../../tmp/escaped", "", "\\u0000", "\\u001b[2J"] {
        all.push((format!("name {name}"), node(name, r#"["10.244.1.0/24"]"#)));
    }
    let subnet = |n| format!("\"{}/30\"", address(n));
    all.push(("the same range often".into(), node("node-a", &list(200_000, |_| subnet(0)))));
    let excludes = list(200_000, |n| format!("\"{}/32\"", address(n)));
    let range = format!(r#"[{{"subnet":"10.0.0.0/8","exclude":{excludes}}}]"#);
    all.push(("many excludes".into(), node("node-a", &range)));
    all.extend(giants());
    all
}
