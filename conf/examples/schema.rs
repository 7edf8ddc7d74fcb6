//! Writes the JSON Schemas into `conf/schema`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let files = [
        ("range-file.schema.json", flatnet_conf::schema::range_file()),
        ("network.schema.json", flatnet_conf::schema::network()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
