//! The connections of one port: bounded in number, accepted whatever the system says, and let go where they say nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;
use tracing::{info, warn};

/// After an accept that failed for want of descriptors or memory: the connection waits in the system's queue meanwhile.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Descriptors that clients must leave to the stores, to other members and to probes.
const KEPT_FILES: u64 = 768;
/// However few descriptors there are.
const LEAST_CONNECTIONS: usize = 64;

/// How many connections a port takes, and how many it has.
#[derive(Debug)]
pub struct Connections {
    purpose: &'static str,
    max: usize,
    free: Arc<Semaphore>,
    refused: AtomicU64,
}

impl Connections {
    pub fn new(purpose: &'static str, max: usize) -> Self {
        Connections {
            purpose,
            max,
            free: Arc::new(Semaphore::new(max)),
            refused: AtomicU64::new(0),
        }
    }

    pub fn max(&self) -> usize {
        self.max
    }

    pub fn open(&self) -> usize {
        self.max - self.free.available_permits()
    }

    /// Since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What a port asks of its connections.
#[derive(Clone, Copy, Debug)]
pub struct Hello {
    /// A connection that has sent fewer bytes than these is let go.
    pub bytes: usize,
    pub within: Duration,
    /// Said to those that are too many.
    pub refusal: &'static [u8],
}

/// Accepts for ever.
pub fn accept(
    listener: TcpListener,
    connections: Arc<Connections>,
    hello: Hello,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let door = Door {
        listener,
        connections,
        hello,
        is_full: false,
    };
    futures::stream::unfold(door, |mut door| async move { Some((Ok(door.next().await), door)) })
}

struct Door {
    listener: TcpListener,
    connections: Arc<Connections>,
    hello: Hello,
    /// Said once, not for every connection.
    is_full: bool,
}

impl Door {
    async fn next(&mut self) -> Connection {
        loop {
            let (stream, peer) = self.accepted().await;
            match self.connections.free.clone().try_acquire_owned() {
                Ok(permit) => {
                    self.is_full = false;
                    return Connection::new(stream, peer, self.hello, permit);
                }
                Err(_) => self.refuse(&stream),
            }
        }
    }

    /// The next connection of the system's queue. No error of one connection, and no want of descriptors, closes the port.
    async fn accepted(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(port = self.connections.purpose, %error, "no connection can be accepted at the moment");
                    sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn refuse(&mut self, stream: &TcpStream) {
        self.connections.refused.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_full, true) {
            warn!(
                port = self.connections.purpose,
                max = self.connections.max,
                "all connections are taken: more are refused until some end"
            );
        }
        // It fits the empty buffer of a new connection; one that is gone already needs no word.
        let _ = stream.try_write(self.hello.refusal);
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A connection that counts until it is dropped.
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// What it still has to say, and until when; none once it has.
    hello: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, hello: Hello, permit: OwnedSemaphorePermit) -> Self {
        // Answers are small and somebody waits for each. A connection that is gone already is found out by its reader.
        let _ = stream.set_nodelay(true);
        Connection {
            stream,
            peer,
            hello: Some((hello.bytes, Box::pin(sleep(hello.within)))),
            _permit: permit,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some((missing, deadline)) = &mut self.hello else {
            return read;
        };
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.hello = None;
        } else if deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Raises the number of descriptors this process may open to what the system allows it; for processes that are members only.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(
            before = limit.current,
            now = limit.maximum,
            "descriptors that may be open"
        ),
        Err(error) => warn!(%error, limit = ?limit.current, "the number of descriptors cannot be raised"),
    }
}

/// As many as asked for, where the descriptors suffice: they are needed for more than clients.
pub fn bounded_by_open_files(asked: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let bounded = bounded(asked, files);
    if bounded < asked {
        warn!(
            asked,
            bounded, files, "fewer connections of clients are taken: raise the limit of open files (ulimit -n)"
        );
    }
    bounded
}

fn bounded(asked: usize, files: u64) -> usize {
    let left = usize::try_from(files.saturating_sub(KEPT_FILES)).unwrap_or(usize::MAX);
    asked.min(left.max(LEAST_CONNECTIONS))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const HELLO: Hello = Hello {
        bytes: 4,
        within: Duration::from_millis(50),
        refusal: b"too many",
    };

    async fn door(max: usize) -> (SocketAddr, impl Stream<Item = io::Result<Connection>>, Arc<Connections>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Connections::new("test", max));
        (address, accept(listener, connections.clone(), HELLO), connections)
    }

    #[tokio::test]
    async fn one_too_many_is_told_so_and_the_place_of_one_that_went_is_free_again() {
        let (address, accepted, connections) = door(1).await;
        let mut accepted = std::pin::pin!(accepted);
        let _first = TcpStream::connect(address).await.unwrap();
        let served = accepted.next().await.unwrap().unwrap();
        assert_eq!((connections.open(), connections.max()), (1, 1));
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut said = String::new();
        tokio::select! {
            _ = accepted.next() => panic!("a second connection was taken"),
            read = second.read_to_string(&mut said) => drop(read.unwrap()),
        }
        assert_eq!((said.as_str(), connections.refused()), ("too many", 1));
        drop(served);
        let _third = TcpStream::connect(address).await.unwrap();
        accepted.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_does_not_say_hello_is_let_go() {
        let (address, accepted, _) = door(2).await;
        let mut accepted = std::pin::pin!(accepted);
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut served = accepted.next().await.unwrap().unwrap();
        slow.write_all(b"hel").await.unwrap();
        let mut said = Vec::new();
        let error = served.read_to_end(&mut said).await.unwrap_err();
        assert_eq!(
            (error.kind(), said.as_slice()),
            (io::ErrorKind::TimedOut, b"hel".as_slice())
        );

        let mut quick = TcpStream::connect(address).await.unwrap();
        let mut served = accepted.next().await.unwrap().unwrap();
        quick.write_all(b"hello").await.unwrap();
        let mut word = [0; 5];
        served.read_exact(&mut word).await.unwrap();
        // It has said hello, and may be silent for longer than the time it had for that.
        let silence = tokio::time::timeout(HELLO.within * 3, served.read_u8()).await;
        assert!(silence.is_err(), "{silence:?}");
    }

    #[test]
    fn clients_leave_descriptors_to_the_stores() {
        assert_eq!(bounded(16_384, 1 << 20), 16_384);
        assert_eq!(bounded(16_384, 4_096), 3_328);
        assert_eq!(bounded(16_384, 256), LEAST_CONNECTIONS);
        assert_eq!(bounded(10, 256), 10);
    }
}
