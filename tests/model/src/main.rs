use model::config::Config;
use model::mutation::Mutation;
use stateright::{Checker, Model};
fn main() {
    let secs: u64 = std::env::args().nth(1).map_or(60, |s| s.parse().unwrap());
    for (n, c) in [("timed", Config::TIMED), ("timeless", Config::TIMELESS)] {
        let t = std::time::Instant::now();
        let ch = c
            .checker()
            .threads(2)
            .timeout(std::time::Duration::from_secs(secs))
            .spawn_bfs()
            .join();
        println!(
            "{n}: unique {} depth {} done {} {:?}",
            ch.unique_state_count(),
            ch.max_depth(),
            ch.is_done(),
            t.elapsed()
        );
        let d = ch.discoveries();
        for p in c.properties() {
            println!(
                "  {:?} {} -> {:?}",
                p.expectation,
                p.name,
                d.get(p.name).map(|p| p.clone().into_actions().len())
            );
        }
    }
    if std::env::args().nth(2).is_some() {
        return;
    }
    for m in Mutation::ALL {
        let t = std::time::Instant::now();
        let ch = m
            .config()
            .checker()
            .finish_when(stateright::HasDiscoveries::AnyFailures)
            .timeout(std::time::Duration::from_secs(60))
            .spawn_bfs()
            .join();
        println!(
            "{m}: want {} unique {} depth {} {:?}",
            m.caught_by().name(),
            ch.unique_state_count(),
            ch.max_depth(),
            t.elapsed()
        );
        let d = ch.discoveries();
        for (n, p) in d {
            println!(
                "   {n} {}",
                p.into_actions()
                    .iter()
                    .map(|a| a.to_string())
                    .collect::<Vec<_>>()
                    .join(" · ")
            );
        }
    }
}
