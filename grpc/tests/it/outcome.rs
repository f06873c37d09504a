//! What a frontend returns, and which of it counts.

use lamina_llb::ResultRefs;
use lamina_proto::gateway;
use lamina_proto::gateway::result;
use lamina_proto::rpc;

use crate::bridge::definition;
use crate::gateway::Returned;
use crate::gateway::reference;
use crate::gateway::solve;
use crate::gateway::with_client;
use crate::harness::Outcome;

/// A result as it is returned.
fn result(result: Option<result::Result>) -> gateway::ReturnRequest {
    gateway::ReturnRequest {
        result: Some(gateway::Result {
            result,
            metadata: [("k".to_owned(), vec![0, 255])].into(),
            ..gateway::Result::default()
        }),
        error: None,
    }
}

/// Returns what came through after `request`.
fn give(request: gateway::ReturnRequest) -> Returned {
    with_client(async move |client| {
        drop(client.r#return(request).await);
    })
}

/// Row GW-31.
pub(crate) fn empty_results_are_scratch() -> Outcome {
    for (name, given) in [
        ("neither", None),
        (
            "empty id",
            Some(result::Result::RefDeprecated(String::new())),
        ),
        (
            "empty ref",
            Some(result::Result::Ref(gateway::Ref::default())),
        ),
        (
            "empty map",
            Some(result::Result::Refs(gateway::RefMap::default())),
        ),
    ] {
        let returned = give(result(given)).expect(name).expect(name);
        assert!(matches!(returned.refs, ResultRefs::Single(None)), "{name}");
        assert_eq!(returned.metadata["k"], [0, 255]);
    }
    assert!(give(gateway::ReturnRequest::default()).is_none());
    let success = gateway::ReturnRequest {
        error: Some(rpc::Status::default()),
        ..gateway::ReturnRequest::default()
    };
    assert!(give(success).is_none());
    let foreign = result(Some(result::Result::RefDeprecated("nonsense".to_owned())));
    assert!(give(foreign).is_none());
    Outcome::Passed
}

/// Row GW-30.
pub(crate) fn the_first_result_counts() -> Outcome {
    let returned = with_client(async |client| {
        let id = reference(client, b"tree").await;
        let refs = [("p".to_owned(), gateway::Ref { id, def: None })].into();
        let map = Some(result::Result::Refs(gateway::RefMap { refs }));
        client.r#return(result(map)).await.expect("the first");
        let status = client.r#return(result(None)).await.expect_err("the second");
        assert_eq!(status.message(), "gateway result is already set");
        // The pipe stays open for what else there is to say.
        client.ping(gateway::PingRequest {}).await.expect("pong");
    });
    let returned = returned.expect("returned").expect("a result");
    assert!(matches!(returned.refs, ResultRefs::Map(map) if map["p"].is_some()));
    Outcome::Passed
}

/// Row GW-34.
pub(crate) fn errors_win() -> Outcome {
    let returned = with_client(async |client| {
        let error = rpc::Status {
            code: 5,
            message: "why".to_owned(),
            details: Vec::new(),
        };
        let request = gateway::ReturnRequest {
            error: Some(error),
            result: Some(gateway::Result::default()),
        };
        client.r#return(request).await.expect("taken");
    });
    let error = returned.expect("returned").err().expect("the error");
    assert_eq!((error.message.as_str(), error.code), ("why", Some(5)));
    Outcome::Passed
}

/// Row GW-18.
pub(crate) fn final_solves_return() -> Outcome {
    let returned = with_client(async |client| {
        let request = gateway::SolveRequest {
            definition: Some(definition(b"x")),
            r#final: true,
            exporter_attr: br#"{"a":"Yg==","n":null}"#.to_vec(),
            ..gateway::SolveRequest::default()
        };
        solve(client, request).await;
    });
    let returned = returned.expect("returned").expect("a result");
    assert_eq!(returned.metadata["a"], b"b");
    Outcome::Passed
}
