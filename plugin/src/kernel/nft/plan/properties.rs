//! What holds of a plan for whatever is dumped.

use proptest::prelude::*;

use super::super::names::Names;
use super::super::observed;
use super::tests::want;
use super::*;

/// Messages of attributes whose lengths and contents may be wrong, names of ours among them.
fn dumps() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let names = vec!["flatnet\0", "vteps-7\0", "cluster4-7\0", "input-7\0", "output-7"];
    let value = prop_oneof![
        prop::sample::select(names).prop_map(|name| name.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..24),
    ];
    let attribute = (0u16..9, value, prop::option::weighted(0.1, 0u16..64));
    let message = prop::collection::vec(attribute, 0..5).prop_map(|attributes| {
        let mut bytes = Vec::new();
        for (kind, value, wrong) in attributes {
            let length = wrong.unwrap_or(value.len() as u16 + 4);
            bytes.extend_from_slice(&length.to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    });
    prop::collection::vec(message, 0..4)
}

proptest! {
    /// Whatever is dumped, there is a plan.
    #[test]
    fn no_dump_is_too_strange(
        chains in dumps(), rules in dumps(), sets in dumps(), elements in dumps(),
        vteps in 1u8..5,
    ) {
        let names = Names::of(7);
        let in_company = observed::in_company(&names, &sets, &chains);
        let mut sets = observed::sets(&names, &sets);
        sets.iter_mut().for_each(|set| set.elements = observed::elements(&elements));
        let chains = observed::chains(&names, chains, rules);
        let table = Some(Table { flags: 0, uses: 0 });
        let observed = ObservedObjects { table, sets, chains, in_company };
        prop_assert!(!replace(&observed, &want(vteps, "10.0.0.0/9")).is_empty());
    }
}
