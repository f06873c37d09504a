//! The config of a cache: layers and records as JSON (row CEX-03).
//!
//! ```text
//! {"layers":  [{"blob": digest, "parent": place or -1}],
//!  "records": [{"digest": digest, "inputs": [[{"selector": text, "link": place}]],
//!               "layers": [{"layer": place, "createdAt": time}],
//!               "chains": [{"layers": [place], "createdAt": time}]}]}
//! ```
//! A result is named by its top layer, whose parents lie below it, or by all of its layers. Fields
//! whose value is zero are left out, as Go does it.

use std::time::SystemTime;

use jiff::Timestamp;
use lamina_types::CacheGraph;
use lamina_types::Digest;
use lamina_types::GraphLink;
use lamina_types::GraphRecord;
use lamina_types::GraphResult;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

/// Media type of the config.
pub(super) const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Has no layer below it.
pub(super) const NO_PARENT: i64 = -1;

/// A cache without its blobs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct CacheConfig {
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) layers: Vec<CacheLayer>,
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) records: Vec<CacheRecord>,
}

/// A blob and what it lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CacheLayer {
    pub(super) blob: Digest,
    /// Place of the layer below, or [`NO_PARENT`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) parent: i64,
}

/// See [`GraphRecord`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CacheRecord {
    #[serde(
        default,
        rename = "layers",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    results: Vec<CacheResult>,
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    chains: Vec<ChainedResult>,
    digest: Digest,
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    inputs: Vec<Vec<CacheInput>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CacheResult {
    layer: usize,
    #[serde(rename = "createdAt", default)]
    created_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChainedResult {
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<usize>,
    #[serde(rename = "createdAt", default)]
    created_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CacheInput {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    selector: String,
    link: usize,
}

/// Names the layers of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LayerRef {
    /// This one and all below it.
    Top(usize),
    /// These, bottom first.
    Chain(Vec<usize>),
}

/// Returns the records of a graph.
pub(super) fn records_of(graph: CacheGraph<LayerRef>) -> Vec<CacheRecord> {
    graph.records.into_iter().map(record_of).collect()
}

fn record_of(record: GraphRecord<LayerRef>) -> CacheRecord {
    let mut written = CacheRecord {
        results: Vec::new(),
        chains: Vec::new(),
        digest: record.digest,
        inputs: record.inputs.iter().map(|i| inputs_of(i)).collect(),
    };
    for result in record.results {
        let created_at = time_text(result.created);
        match result.value {
            LayerRef::Top(layer) => written.results.push(CacheResult { layer, created_at }),
            LayerRef::Chain(layers) => written.chains.push(ChainedResult { layers, created_at }),
        }
    }
    written
}

fn inputs_of(links: &[GraphLink]) -> Vec<CacheInput> {
    let input = |link: &GraphLink| CacheInput {
        selector: link.selector.map(|s| s.to_string()).unwrap_or_default(),
        link: link.record,
    };
    links.iter().map(input).collect()
}

/// Reads records. A result is kept in the form in which it is looked up later, and is not looked
/// at before that.
pub(super) fn graph_of(records: Vec<CacheRecord>) -> CacheGraph<LayerRef> {
    let records = records.into_iter().map(|record| {
        let tops = record.results.into_iter().map(|result| GraphResult {
            value: LayerRef::Top(result.layer),
            created: time_of(&result.created_at),
        });
        let chains = record.chains.into_iter().map(|result| GraphResult {
            value: LayerRef::Chain(result.layers),
            created: time_of(&result.created_at),
        });
        GraphRecord {
            digest: record.digest,
            inputs: record.inputs.iter().map(|i| links_of(i)).collect(),
            results: tops.chain(chains).collect(),
        }
    });
    CacheGraph {
        records: records.collect(),
    }
}

/// Selectors of other builders are paths; hashed, they are as good as ours.
fn links_of(inputs: &[CacheInput]) -> Vec<GraphLink> {
    let selector = |text: &str| match text {
        "" => None,
        text => Some(text.parse().unwrap_or_else(|_| Digest::of(text.as_bytes()))),
    };
    let link = |input: &CacheInput| GraphLink {
        selector: selector(&input.selector),
        record: input.link,
    };
    inputs.iter().map(link).collect()
}

fn time_text(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// What has no time that we understand is older than anything.
fn time_of(text: &str) -> SystemTime {
    let time: Timestamp = text.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    SystemTime::from(time)
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Go writes `null` for what is empty.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn graph() -> CacheGraph<LayerRef> {
        let record = |name: &str, inputs: Vec<Vec<GraphLink>>, results| GraphRecord {
            digest: Digest::of(name.as_bytes()),
            inputs,
            results,
        };
        let result = |value| GraphResult {
            value,
            created: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        };
        let link = |record, selector| GraphLink { selector, record };
        let inputs = vec![vec![link(0, None), link(0, Some(Digest::of(b"s")))]];
        let results = vec![
            result(LayerRef::Top(0)),
            result(LayerRef::Chain(vec![1, 0])),
        ];
        CacheGraph {
            records: vec![record("a", vec![], vec![]), record("b", inputs, results)],
        }
    }

    #[test]
    fn the_form_is_that_of_buildkit() {
        let config = CacheConfig {
            layers: vec![
                CacheLayer {
                    blob: Digest::of(b"x"),
                    parent: NO_PARENT,
                },
                CacheLayer {
                    blob: Digest::of(b"y"),
                    parent: 0,
                },
            ],
            records: records_of(graph()),
        };
        let [x, y, a, b, s] = [b"x", b"y", b"a", b"b", b"s"].map(|name| Digest::of(name));
        let time = "1970-01-01T00:00:01Z";
        let wanted = format!(
            "{{\"layers\":[{{\"blob\":\"{x}\",\"parent\":-1}},{{\"blob\":\"{y}\"}}],\
             \"records\":[{{\"digest\":\"{a}\"}},\
             {{\"layers\":[{{\"layer\":0,\"createdAt\":\"{time}\"}}],\
             \"chains\":[{{\"layers\":[1,0],\"createdAt\":\"{time}\"}}],\"digest\":\"{b}\",\
             \"inputs\":[[{{\"link\":0}},{{\"selector\":\"{s}\",\"link\":0}}]]}}]}}"
        );
        let text = serde_json::to_string(&config).expect("has a JSON form");
        assert_eq!(text, wanted);
        let read: CacheConfig = serde_json::from_str(&text).expect("is a config");
        assert_eq!(read.layers, config.layers);
        let read = graph_of(read.records);
        assert_eq!(format!("{read:?}"), format!("{:?}", graph()));
    }

    #[test]
    fn foreign_configs_are_read() {
        let digest = Digest::of(b"x");
        let text = format!(
            "{{\"layers\":null,\"records\":[{{\"digest\":\"{digest}\",\"chains\":null,\
             \"inputs\":[[{{\"selector\":\"/a\",\"link\":3}}]],\
             \"layers\":[{{\"layer\":7,\"createdAt\":\"0001-01-01T00:00:00Z\"}}]}}]}}"
        );
        let config: CacheConfig = serde_json::from_str(&text).expect("is a config");
        let graph = graph_of(config.records);
        let record = &graph.records[0];
        assert_eq!(record.inputs[0][0].selector, Some(Digest::of(b"/a")));
        assert_eq!(record.results[0].value, LayerRef::Top(7));
        assert!(record.results[0].created < SystemTime::UNIX_EPOCH);
    }
}
