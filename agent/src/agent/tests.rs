mod bench;
mod missing;
mod unwritten;

use std::fs;
use std::time::Duration;

use tokio::time::sleep;

use crate::source::OwnNode;
use bench::{Bench, nodes_of};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const TWO: [&str; 4] = ["a 192.0.2.1", "b 192.0.2.2", "10.1.1.0/24 a", "10.1.2.0/24 b"];

#[tokio::test(start_paused = true)]
async fn a_new_node_makes_its_objects_and_stands_up() {
    let bench = Bench::new(&["b 192.0.2.2", "10.1.2.0/24 b"], &["10.1.1.0/24"]);
    bench
        .run(async |bench| {
            sleep(SECOND).await;
            assert_eq!(bench.world.deeds(), ["put 192.0.2.1", "claim 10.1.1.0/24"]);
            assert_eq!(bench.nodes(), ["a 192.0.2.1 10.1.1.0/24", "b 192.0.2.2 10.1.2.0/24"]);
            assert!(bench.has_upkeep());
            assert!(!bench.state.is_ready() && !bench.conflist().exists());
            assert_eq!(bench.world.said(), 0, "the network does not stand yet");

            bench.report(Err("no"), true).await;
            assert!(!bench.state.is_ready() && !bench.conflist().exists());
            bench.report(Ok(0), true).await;
            assert!(bench.state.is_ready() && bench.conflist().exists());
            assert_eq!(bench.world.said(), 1);
            bench.report(Ok(2), false).await;
            assert_eq!(bench.metric("drift_mended_total"), "2");
            sleep(10 * MINUTE).await;
            assert_eq!(bench.world.deeds().len(), 2, "what is done is done");
            let calls = "source_answers_total{verb=\"call\",code=\"200\"}";
            assert_eq!(bench.metric(calls), "2");
            assert_eq!(
                bench.metric("range_file_writes_total"),
                "2",
                "before and after its own objects"
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_file() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            assert_eq!(bench.metric("range_file_writes_total"), "1");
            for node in 10..30 {
                bench.world.add(&format!("n{node} 192.0.2.{node}"));
                bench.world.add(&format!("10.1.{node}.0/24 n{node}"));
                sleep(Duration::from_millis(5)).await;
            }
            sleep(Duration::from_millis(600)).await;
            assert_eq!(bench.nodes().len(), 22);
            assert_eq!(bench.metric("range_file_writes_total"), "2");
            // One that does not end is no reason to wait for ever.
            for node in 30..60 {
                bench.world.add(&format!("n{node} 192.0.2.{node}"));
                bench.world.add(&format!("10.1.{node}.0/24 n{node}"));
                sleep(Duration::from_millis(50)).await;
            }
            let writes: u32 = bench.metric("range_file_writes_total").parse().unwrap();
            assert!((4..8).contains(&writes), "{writes}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_spoils_is_written_again() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            let (path, before) = (bench.range_file(), bench.nodes());
            // Also while nothing is heard of the cluster.
            for trouble in [None, Some("refused".to_owned())] {
                bench.world.change(|world| world.trouble = trouble);
                sleep(2 * SECOND).await;
                fs::remove_file(&path).unwrap();
                sleep(2 * SECOND).await;
                assert_eq!(bench.nodes(), before);
                fs::write(&path, "{").unwrap();
                sleep(2 * SECOND).await;
                assert_eq!(bench.nodes(), before);
                let other = fs::read_to_string(&path).unwrap().replace("192.0.2.2", "192.0.2.22");
                fs::write(&path, other).unwrap();
                sleep(2 * SECOND).await;
                assert_eq!(bench.nodes(), before);
            }
            assert_eq!(bench.metric("range_file_writes_total"), "7");
            sleep(MINUTE).await;
            assert_eq!(bench.metric("range_file_writes_total"), "7");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_source_tells_is_heard_and_nothing_else_is() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            let heard = || bench.metric("source_last_heard_timestamp_seconds");
            sleep(SECOND).await;
            bench.report(Ok(0), true).await;
            let first = heard();
            assert_ne!(first, "0.0");
            bench.pods(&["10.1.1.7"]);
            sleep(2 * SECOND).await;
            fs::remove_file(bench.range_file()).unwrap();
            sleep(2 * SECOND).await;
            assert_eq!(bench.metric("range_file_writes_total"), "2", "there were rounds");
            bench.world.change(|world| world.trouble = Some("refused".to_owned()));
            sleep(SECOND).await;
            assert_eq!(heard(), first);
            bench.world.change(|world| world.trouble = None);
            sleep(SECOND).await;
            assert_ne!(heard(), first, "it is back");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn while_the_source_is_away_nothing_changes() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            bench.report(Ok(0), true).await;
            let before = bench.nodes();
            bench.world.change(|world| world.trouble = Some("refused".to_owned()));
            sleep(MINUTE).await;
            assert_eq!(bench.nodes(), before);
            assert!(bench.state.is_ready(), "it was once");
            assert_eq!(bench.metric("source_connected"), "0");
            assert_eq!(bench.matters()["trouble"]["why"], "refused");
            bench.world.change(|world| world.trouble = None);
            bench.world.add("c 192.0.2.3");
            bench.world.add("10.1.3.0/24 c");
            sleep(SECOND).await;
            assert_eq!(bench.nodes().len(), 3);
            assert_eq!(bench.metric("source_connected"), "1");
            assert_eq!(bench.matters()["trouble"], serde_json::Value::Null);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_from_its_file_while_the_source_is_away() {
    let bench = Bench::new(&TWO, &["10.1.1.0/24"]);
    let file = bench.put_file(&TWO);
    bench.world.change(|world| {
        world.hidden = true;
        world.trouble = Some("no route to host".to_owned());
    });
    bench
        .run(async |bench| {
            sleep(SECOND).await;
            assert!(bench.has_upkeep());
            bench.report(Ok(5), true).await;
            assert!(bench.conflist().exists(), "pods can start");
            sleep(MINUTE).await;
            assert_eq!(bench.nodes(), nodes_of(&file));
            assert!(!bench.state.is_ready() && bench.world.deeds().is_empty());
            bench.world.change(|world| {
                world.hidden = false;
                world.trouble = None;
            });
            sleep(SECOND).await;
            assert!(bench.state.is_ready());
            assert_eq!(bench.metric("range_file_writes_total"), "0", "it says the same");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_read_anew_is_all_there_is() {
    Bench::new(&[&TWO[..], &["c 192.0.2.3", "10.1.3.0/24 c"]].concat(), &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            assert_eq!(bench.nodes().len(), 3);
            // Meanwhile b went, and what was said of c is another thing now.
            let after = ["a 192.0.2.1", "10.1.1.0/24 a", "c 192.0.2.9", "10.1.2.0/24 c"];
            bench.world.replace(&after);
            sleep(3 * SECOND).await;
            assert_eq!(bench.nodes(), ["a 192.0.2.1 10.1.1.0/24", "c 192.0.2.9 10.1.2.0/24"]);
            // Nothing at all is no file: who would be served by it?
            bench.world.change(|world| world.refuses = true);
            bench.world.replace(&[]);
            sleep(3 * SECOND).await;
            assert_eq!(bench.nodes().len(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_object_is_told_once() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            bench.world.add("10.1.2.128/25 a");
            bench.world.add("x 192.0.2.2");
            sleep(SECOND).await;
            bench.world.poke();
            sleep(MINUTE).await;
            let overlap = "block 10-1-2-128-25 is left out: 10.1.2.128/25 overlaps 10.1.2.0/24 of b, which is older";
            let twice = "node x is left out: its VTEP 192.0.2.2 is that of b, which is older";
            let told = bench.world.notices();
            assert_eq!(told, [("EntryRejected", overlap.to_owned()), ("EntryRejected", twice.to_owned())]);
            assert_eq!(bench.nodes().len(), 2, "the rest goes on");
            assert_eq!(bench.metric("rejected_objects{reason=\"taken\"}"), "2");
            assert_eq!(bench.matters()["rejected"][0]["name"], "x");
            bench.world.replace(&TWO);
            sleep(3 * SECOND).await;
            assert_eq!(bench.metric("rejected_objects{reason=\"taken\"}"), "0");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn who_was_slower_takes_another_and_none_twice() {
    let bench = Bench::new(&[], &[]);
    bench.world.change(|world| {
        world.taken = 3;
        world.lags = true;
    });
    bench
        .run(async |bench| {
            sleep(SECOND).await;
            let deeds = bench.world.deeds();
            let claims: Vec<_> =
                deeds.iter().filter(|deed| deed.starts_with("claim 10.")).collect();
            assert_eq!(claims.len(), 1, "{deeds:?}");
            assert_eq!(bench.metric("requests_total{deed=\"claim\",outcome=\"taken\"}"), "3");
            // The engine has not told of it yet, but of others.
            bench.world.add("10.1.77.0/24 b");
            sleep(2 * SECOND).await;
            assert_eq!(bench.world.deeds(), deeds);
            bench.world.catch_up();
            sleep(SECOND).await;
            assert_eq!(bench.world.deeds(), deeds);
            assert_eq!(bench.nodes().len(), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_range_changed_under_living_pods_goes_with_the_last_of_them() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            bench.report(Ok(0), true).await;
            bench.pods(&["10.1.1.7"]);
            sleep(2 * SECOND).await;
            let own = |world: &mut bench::Inner, range: &str| {
                let addresses = vec!["192.0.2.1".parse().unwrap()];
                world.own = Some(OwnNode { addresses, ranges: vec![range.parse().unwrap()] });
            };
            bench.world.change(|world| own(world, "10.1.5.0/24"));
            sleep(SECOND).await;
            assert_eq!(bench.world.deeds(), ["claim 10.1.5.0/24", "retire 10.1.1.0/24"]);
            let both = "a 192.0.2.1 10.1.1.0/24! 10.1.5.0/24";
            assert_eq!(bench.nodes()[0], both, "new pods get the new one");
            sleep(MINUTE).await;
            assert_eq!(bench.world.deeds().len(), 2);

            bench.pods(&[]);
            sleep(3 * SECOND).await;
            assert_eq!(bench.nodes()[0], "a 192.0.2.1 10.1.5.0/24");
            assert_eq!(bench.world.deeds().len(), 2, "an ADD may be under way");
            bench.pods(&["10.1.1.8"]);
            sleep(20 * SECOND).await;
            assert_eq!(bench.nodes()[0], both, "there was one");
            bench.world.change(|world| world.lags = true);
            bench.pods(&[]);
            sleep(20 * SECOND).await;
            assert_eq!(bench.world.deeds()[2..], ["release 10.1.1.0/24"]);
            assert_eq!(bench.nodes()[0], "a 192.0.2.1 10.1.5.0/24", "also before the engine tells");
            bench.world.catch_up();
            sleep(MINUTE).await;
            assert_eq!(bench.world.deeds().len(), 3);
            assert_eq!(bench.nodes()[0], "a 192.0.2.1 10.1.5.0/24");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_anew_knows_the_range_that_was_lost_under_its_pods() {
    let bench = Bench::new(&["a 192.0.2.1", "10.1.5.0/24 a"], &["10.1.5.0/24"]);
    bench.put_file(&TWO);
    bench.pods(&["10.1.1.7"]);
    bench
        .run(async |bench| {
            sleep(SECOND).await;
            assert!(bench.world.deeds().is_empty(), "nothing was counted yet");
            bench.report(Ok(0), true).await;
            sleep(2 * SECOND).await;
            assert_eq!(bench.world.deeds(), ["claim 10.1.1.0/24", "retire 10.1.1.0/24"]);
            assert_eq!(bench.nodes(), ["a 192.0.2.1 10.1.5.0/24 10.1.1.0/24!"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_given_anothers_range_waits_for_it() {
    Bench::new(&TWO[1..2], &["10.1.2.0/24"])
        .run(async |bench| {
            bench.world.add("10.1.2.0/24 b");
            sleep(SECOND).await;
            assert_eq!(bench.world.deeds(), ["put 192.0.2.1"]);
            assert_eq!(
                bench.nodes(),
                ["b 192.0.2.2 10.1.2.0/24"],
                "nobody's traffic goes elsewhere"
            );
            let words = "the node is to have 10.1.2.0/24, which b still holds";
            assert_eq!(bench.world.notices(), [("RangeHeld", words.to_owned())]);
            assert_eq!(bench.matters()["waits"][0]["holder"], "b");
            assert_eq!(bench.metric("waiting{kind=\"held\"}"), "1");
            bench.world.change(|world| world.cluster.blocks.retain(|_| false));
            sleep(2 * SECOND).await;
            assert_eq!(bench.world.deeds()[1..], ["claim 10.1.2.0/24"]);
            assert_eq!(bench.nodes(), ["a 192.0.2.1 10.1.2.0/24"]);
            assert_eq!(bench.metric("waiting{kind=\"held\"}"), "0");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_ever_less_often() {
    let bench = Bench::new(&[], &["10.1.1.0/24"]);
    bench.world.change(|world| world.refuses = true);
    bench
        .run(async |bench| {
            sleep(10 * MINUTE).await;
            let metric = "requests_total{deed=\"put_node\",outcome=\"failed\"}";
            let tries: u32 = bench.metric(metric).parse().unwrap();
            assert!((10..30).contains(&tries), "{tries}");
            bench.world.change(|world| world.refuses = false);
            sleep(2 * MINUTE).await;
            assert_eq!(bench.world.deeds(), ["put 192.0.2.1", "claim 10.1.1.0/24"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_may_be_given_ranges_waits_for_them() {
    for given in [true, false] {
        let bench = Bench::new(&["b 192.0.2.2", "10.1.2.0/24 b"], &[]);
        bench.world.change(|world| world.gives = true);
        bench
            .run(async |bench| {
                sleep(Duration::from_secs(15)).await;
                assert_eq!(bench.world.deeds(), ["put 192.0.2.1"]);
                if given {
                    bench.world.change(|world| {
                        let own = world.own.as_mut().unwrap();
                        own.ranges = vec!["10.1.1.0/24".parse().unwrap()];
                    });
                }
                sleep(Duration::from_secs(10)).await;
                let deeds = bench.world.deeds();
                match given {
                    true => assert_eq!(deeds[1..], ["claim 10.1.1.0/24"]),
                    false => assert!(
                        deeds.len() == 3 && deeds[1].starts_with("claim 10.1."),
                        "{deeds:?}"
                    ),
                }
            })
            .await;
    }
}
