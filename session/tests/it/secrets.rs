//! Secrets and directories (rows SRC-08, SVC-06, SVC-14).

use lamina_session::LocalFiles;
use lamina_session::LocalOwner;
use lamina_session::LocalRequest;
use lamina_session::LocalSession;
use lamina_session::MAX_SECRET_BYTES;
use lamina_session::Session;
use lamina_session::StoreId;

use crate::wait;

#[test]
fn directories_are_found_by_name_and_others_refused() {
    let session = LocalSession::builder()
        .local_dir("context", "/somewhere")
        .oci_layout("base", "/layout")
        .build();
    let request = |name: &str| LocalRequest {
        name: name.to_owned(),
        ..LocalRequest::default()
    };
    match wait(session.local_files(&request("context"))).expect("offered") {
        LocalFiles::Host { path, owner } => {
            assert_eq!(path.to_str(), Some("/somewhere"));
            assert_eq!(owner, LocalOwner::Fixed { uid: 0, gid: 0 });
        }
        LocalFiles::Remote(_) => panic!("not on this host"),
    }
    let error = wait(session.local_files(&request("other"))).expect_err("not offered");
    assert_eq!(error.to_string(), "no access allowed to dir \"other\"");
    let layout = |name: &str| StoreId::Layout(name.to_owned());
    assert!(wait(session.blobs(&layout("base"))).is_ok());
    let error = wait(session.blobs(&layout("other")))
        .err()
        .expect("not offered");
    assert_eq!(
        error.to_string(),
        "no access allowed to OCI layout \"other\""
    );
}

#[test]
fn secrets_come_from_values_files_and_variables() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    std::fs::write(&path, "from file").expect("written");
    let session = LocalSession::builder()
        .secret_bytes("value", "from value")
        .secret_file("file", &path)
        .secret_env("variable", "CARGO_MANIFEST_DIR")
        .secret_env("unset", "LAMINA_NO_SUCH_VARIABLE")
        .build();
    let get = |id| wait(session.secret(id)).expect("readable");
    assert_eq!(get("value").as_deref(), Some(&b"from value"[..]));
    assert_eq!(get("file").as_deref(), Some(&b"from file"[..]));
    assert_eq!(
        get("variable").as_deref(),
        Some(env!("CARGO_MANIFEST_DIR").as_bytes())
    );
    assert_eq!(get("unset"), None);
    assert_eq!(get("unknown"), None);
}

#[test]
fn a_secret_whose_file_is_missing_is_an_error_that_names_it() {
    let session = LocalSession::builder()
        .secret_file("token", "/no/such/file")
        .build();
    let error = wait(session.secret("token")).expect_err("missing");
    assert_eq!(
        error.to_string(),
        "secret \"token\": /no/such/file: no such file or directory"
    );
}

#[test]
fn secrets_above_the_limit_are_refused() {
    let limit = usize::try_from(MAX_SECRET_BYTES).expect("fits");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("large");
    std::fs::write(&path, vec![b'x'; limit + 10]).expect("written");
    let session = LocalSession::builder()
        .secret_bytes("fits", vec![0; limit])
        .secret_bytes("value", vec![0; limit + 1])
        .secret_file("file", &path)
        .build();
    assert!(wait(session.secret("fits")).expect("fits").is_some());
    for id in ["value", "file"] {
        let error = wait(session.secret(id)).expect_err(id).to_string();
        assert!(error.contains("too large"), "{error}");
    }
}

#[test]
fn debug_output_hides_values() {
    let session = LocalSession::builder()
        .secret_bytes("token", "hunter2")
        .secret_env("other", "SOME_VARIABLE")
        .build();
    let shown = format!("{session:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains("104, 117, 110"), "{shown}");
    assert!(
        shown.contains("token") && shown.contains("SOME_VARIABLE"),
        "{shown}"
    );
}

#[test]
fn ids_are_unique() {
    let ids: std::collections::BTreeSet<String> = (0..100)
        .map(|_| LocalSession::builder().build().id().to_owned())
        .collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == 25));
}
