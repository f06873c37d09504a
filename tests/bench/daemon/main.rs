//! Measures daemons with one client: gateway reads, uploads, graphs, memory, and starting.
//!
//! ```text
//! daemon-bench [CASE..] -- ADDRESS [PEER]    reads, graph, rebuild, upload, containers
//! daemon-bench copies DIR ADDRESS [PEER]     file operations, with the files of the client below DIR
//! daemon-bench large DIR ADDRESS [PEER]      of these, copies of large files
//! daemon-bench steps BASE ADDRESS [PEER]     steps on the root file system in BASE
//! daemon-bench start PROGRAM DIR             starts PROGRAM with state folders below DIR
//! ```
//! Addresses are those of daemons that speak BuildKit's API; each figure of the second is printed
//! beside the first, with the ratio. `scripts/bench daemon` starts the daemons.

mod containers;
mod context;
mod copies;
mod fill;
mod graph;
mod reads;
mod start;
mod steps;
mod subject;
mod table;
mod upload;

use std::path::Path;

use subject::Subject;
use subject::memory;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["start", program, dir] => start::start(Path::new(program), Path::new(dir)).await,
        ["copies", dir, addresses @ ..] => {
            copies::copies(&connect(addresses).await?, Path::new(dir)).await
        }
        ["large", dir, addresses @ ..] => {
            copies::large(&connect(addresses).await?, Path::new(dir)).await
        }
        ["steps", base, addresses @ ..] => {
            steps::steps(&connect(addresses).await?, Path::new(base)).await
        }
        words => compare(words).await,
    }
}

async fn connect(addresses: &[&str]) -> Outcome<Vec<Subject>> {
    let mut subjects = Vec::new();
    for address in addresses {
        subjects.push(Subject::connect(address).await?);
    }
    Ok(subjects)
}

/// Runs the cases on daemons that run.
async fn compare(words: &[&str]) -> Outcome<()> {
    let at = words.iter().position(|word| *word == "--");
    let (cases, addresses) = words.split_at(at.unwrap_or(0));
    let subjects = connect(addresses.strip_prefix(&["--"]).unwrap_or(addresses)).await?;
    let wanted = |case: &str| cases.is_empty() || cases.contains(&case);
    memory(&subjects, "one client, nothing asked").await;
    if wanted("reads") {
        reads::reads(&subjects).await?;
        memory(&subjects, "after the reads").await;
    }
    if wanted("graph") {
        graph::graph(&subjects).await?;
        memory(&subjects, "after the graph").await;
    }
    if wanted("rebuild") {
        graph::rebuild(&subjects).await?;
    }
    if wanted("upload") {
        upload::upload(&subjects).await?;
        memory(&subjects, "after the uploads").await;
    }
    if wanted("containers") {
        containers::containers(&subjects).await?;
    }
    Ok(())
}
