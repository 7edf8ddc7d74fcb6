//! Prints the custom resource definitions, from the types that the agent writes.

use flatnet_agent::kubernetes::objects::{FlatnetBlock, FlatnetNode};
use kube::CustomResourceExt;

fn main() -> Result<(), serde_yaml::Error> {
    for crd in [FlatnetNode::crd(), FlatnetBlock::crd()] {
        print!("---\n{}", serde_yaml::to_string(&crd)?);
    }
    Ok(())
}
