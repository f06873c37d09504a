//! Agents and uploads of a client in this process (rows SVC-15 to SVC-17).

use lamina_session::LocalSession;
use lamina_session::Session;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::wait;

#[test]
fn sockets_are_forwarded_by_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("agent");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    let session = LocalSession::builder()
        .ssh_agent("", &path)
        .ssh_agent("file", &file)
        .ssh_agent("gone", dir.path().join("gone"))
        .build();
    let answer = wait(async {
        let listener = tokio::net::UnixListener::bind(&path).expect("bound");
        session.check_ssh("default").await.expect("there");
        session.check_ssh("").await.expect("the default");
        let mut connection = session.connect_ssh("").await.expect("connects");
        let (mut agent, _) = listener.accept().await.expect("accepted");
        connection.write_all(b"question").await.expect("written");
        connection.shutdown().await.expect("shut down");
        let mut question = String::new();
        agent.read_to_string(&mut question).await.expect("read");
        agent
            .write_all(question.replace("question", "answer").as_bytes())
            .await
            .expect("written");
        drop(agent);
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("read");
        answer
    });
    assert_eq!(answer, "answer");
    for (id, wanted) in [
        ("other", "no SSH key \"other\" forwarded from the client"),
        ("file", "no SSH key \"file\" forwarded from the client"),
        ("gone", "no such file or directory"),
    ] {
        let error = wait(session.check_ssh(id)).expect_err(id).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn uploads_are_found_by_path() {
    let session = LocalSession::builder()
        .upload("/bytes", "data")
        .upload_reader("once", std::io::Cursor::new("stream"))
        .build();
    let read = |path: &str| {
        wait(async {
            let mut reader = session.upload("buildkit-session", path).await?;
            let mut text = String::new();
            reader.read_to_string(&mut text).await.expect("read");
            Ok::<_, lamina_session::SessionError>(text)
        })
        .map_err(|error| error.to_string())
    };
    assert_eq!(read("/bytes").as_deref(), Ok("data"));
    assert_eq!(read("/bytes").as_deref(), Ok("data"));
    assert_eq!(read("/once").as_deref(), Ok("stream"));
    for path in ["/once", "/other"] {
        assert_eq!(
            read(path),
            Err(format!(
                "the client uploads nothing at http://buildkit-session{path}"
            ))
        );
    }
}
