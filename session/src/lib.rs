//! What a build may ask of the client that started it.
//!
//! A build reads the client's directories, secrets and registry credentials, and hands its results
//! back to the client. All of that goes through one trait, [`Session`], so that the engine does not
//! know whether the client is in this process ([`LocalSession`]) or at the other end of a socket.
//! Clients of the latter kind attach to a [`SessionManager`], where builds find them by id.
//!
//! What both ends of such a connection need is here as well: bytes over messages ([`MessagePipe`]),
//! the two halves of a directory transfer ([`FileSender`], [`FileReceiver`]), and the listing of a
//! directory by patterns ([`host`]).
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

mod blobs;
mod content;
mod credentials;
mod docker_config;
mod error;
mod exporters;
pub mod host;
mod id;
mod local;
mod manager;
mod pipe;
mod remote;
mod secret;
mod session;
mod target;
mod transfer;

pub use blobs::BlobReader;
pub use blobs::BlobStore;
pub use content::read_answers;
pub use content::read_range;
pub use credentials::Credentials;
pub use docker_config::DockerConfig;
pub use error::SessionError;
pub use exporters::ChosenExporter;
pub use exporters::ExportableResult;
pub use id::fresh_id;
pub use local::LocalSession;
pub use local::LocalSessionBuilder;
pub use manager::CONNECTION_WINDOW_BYTES;
pub use manager::SESSION_WAIT;
pub use manager::STREAM_WINDOW_BYTES;
pub use manager::SessionGuard;
pub use manager::SessionInfo;
pub use manager::SessionManager;
pub use pipe::MessagePipe;
pub use secret::MAX_SECRET_BYTES;
pub use session::DirectoryTarget;
pub use session::Duplex;
pub use session::LocalFiles;
pub use session::LocalOwner;
pub use session::LocalRequest;
pub use session::Session;
pub use session::StoreId;
pub use session::Token;
pub use session::TokenRequest;
pub use target::FileTarget;
pub use transfer::AHEAD_BYTES;
pub use transfer::DATA_BYTES;
pub use transfer::FileEntry;
pub use transfer::FilePiece;
pub use transfer::FileReceiver;
pub use transfer::FileSender;
pub use transfer::FileSource;
pub use transfer::OpenFile;
pub use transfer::PacketStream;
pub use transfer::Received;
pub use transfer::stat_from_wire;
pub use transfer::stat_to_wire;
