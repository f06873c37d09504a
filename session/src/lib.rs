//! What a build may ask of the client that started it.
//!
//! A build reads the client's directories, secrets and registry credentials, and hands its results
//! back to the client. All of that goes through one trait, [`Session`], so that the engine does not
//! know whether the client is in this process ([`LocalSession`]) or at the other end of a socket.
//!
//! ```
//! use lamina_session::LocalSession;
//! use lamina_session::Session;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let session = LocalSession::builder()
//!     .local_dir("context", "/src/app")
//!     .secret_bytes("token", b"hunter2".to_vec())
//!     .build();
//! assert_eq!(session.secret("token").await.unwrap().as_deref(), Some(&b"hunter2"[..]));
//! assert!(!format!("{session:?}").contains("hunter2"));
//! # });
//! ```

mod credentials;
mod docker_config;
mod error;
mod local;
mod secret;
mod session;
mod target;

pub use credentials::Credentials;
pub use docker_config::DockerConfig;
pub use error::SessionError;
pub use local::LocalSession;
pub use local::LocalSessionBuilder;
pub use secret::MAX_SECRET_BYTES;
pub use session::LocalOwner;
pub use session::Session;
pub use target::FileTarget;
