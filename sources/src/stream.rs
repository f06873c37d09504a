//! From streams, which wait, to files, which block.

use std::io;
use std::io::Write;

use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

use crate::SourceError;

/// Bytes that are moved in one go.
const PIECE_BYTES: usize = 1 << 20;

/// What there is to copy with.
pub(crate) struct Copy<'a> {
    pub(crate) blocking: &'a Blocking,
    pub(crate) cancel: &'a CancelToken,
    /// Names the source in messages.
    pub(crate) what: &'a str,
}

impl Copy<'_> {
    /// Copies until the stream ends, one piece in memory at a time, and holds no thread while it
    /// waits for the stream. Returns the sink, and how reading ended: what came before an error
    /// is written.
    ///
    /// # Errors
    /// If the sink cannot be written.
    pub(crate) async fn run<W: Write + Send + 'static>(
        &self,
        from: &mut (impl AsyncRead + Unpin + Send + ?Sized),
        to: W,
        progress: impl Fn(u64),
    ) -> Result<(W, io::Result<()>), SourceError> {
        let mut to = to;
        let mut piece = Vec::new();
        loop {
            piece.clear();
            let read = (&mut *from).take(PIECE_BYTES as u64);
            let ended = { read }.read_to_end(&mut piece).await;
            let count = piece.len();
            if count > 0 {
                (to, piece) = self.write(to, piece).await?;
                progress(count as u64);
            }
            match ended {
                Ok(PIECE_BYTES) => {}
                ended => return Ok((to, ended.map(drop))),
            }
        }
    }

    async fn write<W: Write + Send + 'static>(
        &self,
        mut to: W,
        piece: Vec<u8>,
    ) -> Result<(W, Vec<u8>), SourceError> {
        let what = self.what.to_owned();
        let write = move |_: &CancelToken| {
            to.write_all(&piece).at(what)?;
            Ok::<_, SourceError>((to, piece))
        };
        self.blocking.run(self.cancel, write).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_before_an_error_is_kept() {
        let (blocking, cancel) = (Blocking::new(1).expect("starts"), CancelToken::new());
        let copy = Copy {
            blocking: &blocking,
            cancel: &cancel,
            what: "test",
        };
        let data = vec![7_u8; PIECE_BYTES * 2 + 5];
        let whole = copy.run(&mut &data[..], Vec::new(), |_| {}).await;
        let (sink, ended) = whole.expect("written");
        assert!(ended.is_ok());
        assert_eq!(sink, data);
        let broken = tokio_util::io::StreamReader::new(tokio_stream_of(vec![
            Ok(bytes::Bytes::from_static(b"abc")),
            Err(io::Error::other("lost")),
        ]));
        let (sink, ended) =
            { copy.run(&mut { broken }, Vec::new(), |_| {}).await }.expect("written");
        assert_eq!(ended.expect_err("lost").to_string(), "lost");
        assert_eq!(sink, b"abc");
    }

    fn tokio_stream_of<T: Unpin>(items: Vec<T>) -> impl futures_util::Stream<Item = T> + Unpin {
        futures_util::stream::iter(items)
    }
}
