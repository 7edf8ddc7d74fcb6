//! Files that cannot be written, as on a disk that is full for a while.

use std::path::{Path, PathBuf};

use super::*;

/// The longest wait between two tries, and a look at the clock.
const LONGEST: Duration = Duration::from_secs(62);

/// A folder in the place where a file is begun: until it goes, that file cannot be written.
struct InTheWay(PathBuf);

impl InTheWay {
    fn of(file: &Path) -> Self {
        let name = file.file_name().unwrap().to_str().unwrap();
        let unfinished = file.with_file_name(format!(".{name}.new"));
        fs::create_dir_all(unfinished.join("full")).unwrap();
        Self(unfinished)
    }

    fn goes(self) {
        fs::remove_dir_all(self.0).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_tried_again_though_nothing_else_changes() {
    let bench = Bench::new(&TWO, &["10.1.1.0/24"]);
    let file = InTheWay::of(&bench.range_file());
    let matters = InTheWay::of(&bench.matters_file());
    let configuration = InTheWay::of(&bench.conflist());
    bench
        .run(async |bench| {
            sleep(10 * MINUTE).await;
            assert!(!bench.range_file().exists() && !bench.has_upkeep());
            file.goes();
            sleep(LONGEST).await;
            assert_eq!(bench.nodes().len(), 2);
            assert!(bench.has_upkeep());

            bench.report(Ok(0), true).await;
            sleep(10 * MINUTE).await;
            assert!(bench.state.is_ready() && !bench.conflist().exists());
            configuration.goes();
            sleep(LONGEST).await;
            assert!(bench.conflist().exists());

            assert!(!bench.matters_file().exists());
            matters.goes();
            sleep(LONGEST).await;
            assert_eq!(bench.matters()["node"], "a");

            // Also what comes later.
            let file = InTheWay::of(&bench.range_file());
            bench.world.add("c 192.0.2.3");
            bench.world.add("10.1.3.0/24 c");
            sleep(10 * MINUTE).await;
            assert_eq!(bench.nodes().len(), 2, "what stood stands");
            file.goes();
            sleep(LONGEST).await;
            assert_eq!(bench.nodes().len(), 3);
            assert_eq!(bench.metric("range_file_writes_total"), "2");
        })
        .await;
}
