//! Builds from repositories of git, from the command to the result (rows FDF-02, FDF-22, DFI-29,
//! DFI-31, FDF-41).

use lamina_testkit::git::COMMITTED;
use lamina_testkit::git::Repositories;

use crate::harness::Lamina;
use crate::harness::for_every_user;
use crate::harness::may_act_as;
use crate::harness::program;
use crate::harness::skip;

/// One build with a repository everywhere where there can be one.
#[test]
fn everything_may_come_from_git() {
    if program("git").is_none() {
        skip!("git is not installed");
    }
    let all = Repositories::new();
    let library = all.make("library.git", &[("l", "1")]);
    library.git(&["tag", "v1"]);
    let commit = library.head();
    library.commit(&[("l", "2")]);
    all.make("named.git", &[("n", "3")]);
    let server = all.serve();
    let url = format!("http://{}", server.host());
    let dockerfile = format!(
        "FROM scratch\nCOPY f /\nCOPY --from=named n /\n\
         ADD --keep-git-dir=true --checksum={commit} {url}/library.git#v1 /lib\n"
    );
    all.make(
        "app.git",
        &[("sub/app.Dockerfile", &dockerfile), ("sub/f", "4")],
    );
    let named = format!("named={url}/named.git");
    let context = format!("{url}/app.git#main:sub");
    let prepare = |user| may_act_as(user).map(|()| Lamina::new(user));
    for_every_user(prepare, |user, lamina| {
        let args = [
            "build",
            "--build-context",
            named.as_str(),
            "--build-arg",
            "SOURCE_DATE_EPOCH=context",
            "-f",
            "app.Dockerfile",
            "-o",
            "out",
            context.as_str(),
        ];
        let built = lamina.run(&args).ok();
        for (path, content) in [("out/f", "4"), ("out/n", "3"), ("out/lib/l", "1")] {
            assert_eq!(lamina.read(path), content, "{user:?}: {path}");
        }
        assert_eq!(lamina.read("out/lib/.git/HEAD").trim(), commit, "{user:?}");
        let made = std::fs::metadata(lamina.dir().join("out/f"))
            .expect("there")
            .modified();
        let made = made
            .expect("a time")
            .duration_since(std::time::UNIX_EPOCH)
            .expect("later");
        assert_eq!(i64::try_from(made.as_secs()), Ok(COMMITTED), "{user:?}");
        let shown = built.stderr.contains("[internal] load git source http://");
        assert!(shown, "{user:?}: {}", built.stderr);
        lamina.assert_clean();
    });
}

#[test]
fn a_repository_that_is_not_there_is_named() {
    let lamina = match may_act_as(crate::harness::User::Root) {
        Ok(()) => Lamina::new(crate::harness::User::Root),
        Err(reason) => skip!("{reason}"),
    };
    let refused = lamina.run(&["build", "http://user:secret@127.0.0.1:1/x.git"]);
    refused.fails_with(&["failed to fetch remote http://127.0.0.1:1/x.git: fatal: "]);
    assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
}
