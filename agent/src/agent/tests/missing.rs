//! Objects that are gone, and come back.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_comes_back_at_once_was_never_gone() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            let without = [TWO[0], TWO[2]];
            bench.world.replace(&without);
            sleep(Duration::from_millis(900)).await;
            bench.world.replace(&TWO);
            sleep(SECOND).await;
            assert_eq!(bench.metric("range_file_writes_total"), "1", "no file was without it");

            bench.world.replace(&without);
            sleep(Duration::from_millis(1100)).await;
            assert_eq!(bench.nodes(), ["a 192.0.2.1 10.1.1.0/24"], "it is gone for good");
            bench.world.replace(&TWO);
            sleep(Duration::from_millis(100)).await;
            assert_eq!(bench.nodes().len(), 2, "what comes is not waited for");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn own_objects_that_somebody_deleted_are_back_before_anybody_misses_them() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            // All others wait for a second.
            bench.world.replace(&[TWO[1], TWO[3]]);
            sleep(Duration::from_millis(100)).await;
            assert_eq!(bench.world.deeds(), ["put 192.0.2.1", "claim 10.1.1.0/24"]);
            sleep(SECOND).await;
            assert_eq!(bench.nodes().len(), 2);
            assert_eq!(bench.metric("range_file_writes_total"), "1", "no file was without it");
        })
        .await;
}

/// What somebody else writes in the place of an object is as if it were gone.
#[tokio::test(start_paused = true)]
async fn what_is_overwritten_and_mended_at_once_was_never_wrong() {
    for [wrong, deed] in [
        ["a fd00:77::1", "put 192.0.2.1"],
        ["a nonsense", "put 192.0.2.1"],
        ["10.1.1.0/24 ?", "claim 10.1.1.0/24"],
        ["b fd00:77::2", ""],
        ["10.1.2.0/24 ?", ""],
    ] {
        let about = |words: &str| wrong.split(' ').next() == words.split(' ').next();
        Bench::new(&TWO, &["10.1.1.0/24"])
            .run(async |bench| {
                sleep(SECOND).await;
                let words: Vec<_> = TWO.into_iter().filter(|words| !about(words)).collect();
                bench.world.replace(&[&words[..], &[wrong]].concat());
                sleep(Duration::from_millis(100)).await;
                assert_eq!(bench.world.deeds().join(", "), deed, "{wrong}");
                sleep(Duration::from_millis(800)).await;
                // What is another's, that one mends.
                if deed.is_empty() {
                    bench.world.replace(&TWO);
                }
                sleep(2 * SECOND).await;
                assert_eq!(bench.nodes().len(), 2, "{wrong}");
                assert_eq!(bench.metric("range_file_writes_total"), "1", "{wrong}");
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_has_forgotten_all_nodes_is_told_of_them_before_they_are_missed() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            bench.world.change(|world| world.forgets = true);
            bench.world.replace(&[]);
            sleep(5 * SECOND).await;
            assert_eq!(bench.world.deeds(), ["put 192.0.2.1", "claim 10.1.1.0/24"]);
            bench.world.add("b 192.0.2.2");
            bench.world.add("10.1.2.0/24 b");
            sleep(SECOND).await;
            assert_eq!(bench.nodes().len(), 2);
            assert_eq!(bench.metric("range_file_writes_total"), "1");
            // A node that does not come is gone.
            bench.world.replace(&[TWO[0], TWO[2]]);
            sleep(9 * SECOND).await;
            assert_eq!(bench.nodes().len(), 2);
            sleep(2 * SECOND).await;
            assert_eq!(bench.nodes().len(), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_reached_while_their_node_is_registered_anew() {
    Bench::new(&TWO, &["10.1.1.0/24"])
        .run(async |bench| {
            sleep(SECOND).await;
            bench.report(Ok(0), true).await;
            bench.pods(&["10.1.1.7"]);
            sleep(2 * SECOND).await;
            let own = bench.world.change(|world| world.own.take());
            bench.world.replace(&["b 192.0.2.2", "10.1.2.0/24 b"]);
            sleep(SECOND).await;
            assert_eq!(bench.world.deeds(), ["put 192.0.2.1", "claim 10.1.1.0/24"]);
            assert_eq!(bench.nodes().len(), 2);
            assert_eq!(bench.world.said(), 1);
            sleep(MINUTE).await;
            assert_eq!(bench.world.notices()[0].0, "NodeMissing");
            bench.world.change(|world| world.own = own);
            sleep(SECOND).await;
            assert_eq!(bench.world.deeds().len(), 2);
            assert_eq!(bench.world.said(), 2, "it is another Node");
        })
        .await;
}
